// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

var equateEmpty = cmpopts.EquateEmpty()

// names returns what is in a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func outputs(t *testing.T, values ...string) []coordinator.Output {
	t.Helper()
	var list []coordinator.Output
	for _, value := range values {
		o, err := coordinator.ParseOutput(value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, o)
	}
	return list
}

func texts(refs []manifestlist.Reference) []string {
	var list []string
	for _, r := range refs {
		list = append(list, r.String())
	}
	return list
}

func TestNewDelivery(t *testing.T) {
	// An export as the tests see it.
	type export struct {
		Type       string
		Attrs      attrs
		Dir        string
		Blobs, Tar bool
	}
	type delivery struct {
		Exports     []export
		Refs, Names []string
		Layouts     int
		Image       bool
	}
	push := func(repos string, more ...string) export {
		out := export{Type: "image", Attrs: attrs{"push": "true", "push-by-digest": "true", "name": repos}}
		for i := 0; i < len(more); i += 2 {
			out.Attrs[more[i]] = more[i+1]
		}
		return out
	}
	tags := []string{"r.example/a:1", "r.example/a:2", "r.example/b:1"}
	for _, test := range []struct {
		rule    string
		request coordinator.Request
		outputs []string
		want    delivery
	}{
		{"nothing is made", coordinator.Request{Tags: tags}, nil, delivery{}},
		{"the cache alone", coordinator.Request{}, []string{"type=cacheonly"}, delivery{}},
		{"--push sends every tag, by digest first", coordinator.Request{Tags: tags, Push: true}, nil, delivery{
			Exports: []export{push("r.example/a,r.example/b")}, Refs: tags, Image: true,
		}},
		{"-o type=registry is the same", coordinator.Request{Tags: tags}, []string{"type=registry"}, delivery{
			Exports: []export{push("r.example/a,r.example/b")}, Refs: tags, Image: true,
		}},
		{"both at once push once", coordinator.Request{Tags: tags[:1], Push: true}, []string{"type=registry,compression=zstd"}, delivery{
			Exports: []export{push("r.example/a", "compression", "zstd")}, Refs: tags[:1], Image: true,
		}},
		{"--push makes an image output push", coordinator.Request{Tags: tags[:1], Push: true}, []string{"type=image"}, delivery{
			Exports: []export{push("r.example/a")}, Refs: tags[:1], Image: true,
		}},
		{"name= adds references", coordinator.Request{Tags: tags[:1]}, []string{`type=image,push=true,"name=r.example/a:1,r.example/c"`}, delivery{
			Exports: []export{push("r.example/a,r.example/c")}, Refs: []string{"r.example/a:1", "r.example/c:latest"}, Image: true,
		}},
		{"two pushes of one reference tag it once", coordinator.Request{Tags: tags[:1]}, []string{"type=registry", "type=registry,compression=zstd"}, delivery{
			Exports: []export{push("r.example/a"), push("r.example/a", "compression", "zstd")}, Refs: tags[:1], Image: true,
		}},
		{"an image output that does not push", coordinator.Request{Tags: tags[:1]}, []string{"type=image,name=x,compression=zstd"}, delivery{
			Exports: []export{{Type: "image", Attrs: attrs{"compression": "zstd"}}},
		}},
		{"--insecure-registry", coordinator.Request{Tags: tags[:1], Push: true, InsecureRegistry: true}, nil, delivery{
			Exports: []export{push("r.example/a", "registry.insecure", "true")}, Refs: tags[:1], Image: true,
		}},
		{"a layout goes by way of a directory", coordinator.Request{Tags: tags[:1]}, []string{"type=oci,dest=app.tar,compression=zstd"}, delivery{
			Exports: []export{{Type: "oci", Attrs: attrs{"tar": "false", "compression": "zstd", "name": "r.example/a:1"}, Blobs: true}},
			Names:   tags[:1], Layouts: 1, Image: true,
		}},
		{"a layout without a name", coordinator.Request{}, []string{"type=docker,dest=-"}, delivery{
			Exports: []export{{Type: "oci", Attrs: attrs{"tar": "false"}, Blobs: true}}, Layouts: 1, Image: true,
		}},
		{"layouts share that directory", coordinator.Request{}, []string{"type=oci,dest=a.tar,name=x", "type=oci,tar=false,dest=b,name=x", "type=docker,dest=c,name=x"}, delivery{
			Exports: []export{{Type: "oci", Attrs: attrs{"tar": "false", "name": "docker.io/library/x:latest"}, Blobs: true}},
			Names:   []string{"docker.io/library/x:latest"}, Layouts: 3, Image: true,
		}},
		{"a layout's name is not pushed", coordinator.Request{Tags: tags[:1], Push: true}, []string{"type=oci,dest=a.tar,name=x"}, delivery{
			Exports: []export{{Type: "oci", Attrs: attrs{"tar": "false", "name": "r.example/a:1,docker.io/library/x:latest"}, Blobs: true}, push("r.example/a")},
			Refs:    tags[:1], Names: []string{"r.example/a:1", "docker.io/library/x:latest"}, Layouts: 1, Image: true,
		}},
		{"files", coordinator.Request{}, []string{"out", "type=tar,dest=out.tar,platform-split=false", "-"}, delivery{
			Exports: []export{{Type: "local", Dir: "out"}, {Type: "tar", Attrs: attrs{"platform-split": "false"}, Tar: true}, {Type: "tar", Tar: true}},
		}},
		{"annotations go to images only", coordinator.Request{Tags: tags[:1], Annotations: []string{"a=b", "index:c=d"}}, []string{"type=registry", "type=oci,dest=a", "out"}, delivery{
			Exports: []export{
				push("r.example/a", "annotation-manifest.a", "b"),
				{Type: "oci", Attrs: attrs{"tar": "false", "name": "r.example/a:1", "annotation-manifest.a": "b"}, Blobs: true},
				{Type: "local", Dir: "out"},
			},
			Refs: tags[:1], Names: tags[:1], Layouts: 1, Image: true,
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv("TMPDIR", ".")
			test.request.Outputs = outputs(t, test.outputs...)
			d, err := coordinator.NewDelivery(&test.request, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			got := delivery{Refs: texts(d.Refs), Names: texts(d.Names), Layouts: len(d.Layouts), Image: d.Image}
			for _, e := range d.Exports {
				if e.Blobs != d.Staging && e.Blobs != "" {
					t.Errorf("blobs go to %s, not to %s", e.Blobs, d.Staging)
				}
				got.Exports = append(got.Exports, export{e.Type, e.Attrs, e.Dir, e.Blobs != "", e.Tar != nil})
			}
			if diff := cmp.Diff(test.want, got, equateEmpty); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if left := names(t, "."); (len(left) > 0) != (d.Staging != "") {
				t.Errorf("meanwhile there is %q", left)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if left := names(t, "."); len(left) > 0 {
				t.Errorf("left is %q", left)
			}
		})
	}
}

func TestNewDeliveryErrors(t *testing.T) {
	for _, test := range []struct {
		rule    string
		request coordinator.Request
		outputs []string
		text    string
		hint    string
	}{
		{"a push without a tag", coordinator.Request{Push: true}, nil, "pushing: the result has no reference", "name it with -t"},
		{"a tag that is none", coordinator.Request{Tags: []string{"App"}}, nil, `reading reference "App"`, "lower case: app"},
		{"a name that is none", coordinator.Request{}, []string{"type=registry,name=App"}, `reading reference "App"`, "lower case: app"},
		{"a layout's name that is none", coordinator.Request{}, []string{"type=oci,dest=a,name=App"}, `reading reference "App"`, "lower case: app"},
		{"a digest to push to", coordinator.Request{Tags: []string{"a@sha256:" + strings.Repeat("0", 64)}}, nil, "cannot be chosen", "leave it out: a"},
		{"an annotation that is none", coordinator.Request{Annotations: []string{"a"}}, nil, `understanding --annotation "a"`, "NAME=VALUE"},
		{"layouts with different settings", coordinator.Request{}, []string{"type=oci,dest=a", "type=oci,dest=b,compression=zstd"}, "different settings", ""},
		{"layouts with different names", coordinator.Request{}, []string{"type=oci,dest=a,name=x", "type=oci,dest=b,name=y"}, "different settings", ""},
		{"several platforms for docker load", coordinator.Request{Request: request("amd64", "arm64")}, []string{"type=oci,dest=b", "type=docker,dest=a"},
			"it holds one platform, not 2", "type=oci"},
		{"the last of several", coordinator.Request{}, []string{"type=oci,dest=a", "type=tar,dest=b", "type=registry"}, "the result has no reference", "-t"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Chdir(t.TempDir())
			test.request.Outputs = outputs(t, test.outputs...)
			_, err := coordinator.NewDelivery(&test.request, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.text) || !strings.Contains(hint(err), test.hint) || !isUsage(err) {
				t.Errorf("got %v, usage error: %t, hint %q", err, isUsage(err), hint(err))
			}
			if left := names(t, "."); len(left) > 0 {
				t.Errorf("left is %q", left)
			}
		})
	}
	t.Run("nowhere to put blobs", func(t *testing.T) {
		t.Chdir(t.TempDir())
		_, err := coordinator.NewDelivery(&coordinator.Request{Outputs: outputs(t, "type=oci,dest=none/app.tar")}, io.Discard)
		if !errors.Is(err, fs.ErrNotExist) || isUsage(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestArchive(t *testing.T) {
	open := func(t *testing.T, dest string) (*coordinator.Delivery, io.WriteCloser) {
		t.Helper()
		t.Chdir(t.TempDir())
		d, err := coordinator.NewDelivery(&coordinator.Request{Outputs: outputs(t, "type=tar,dest="+dest)}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		w, err := d.Exports[0].Tar()
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(w, "new")
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return d, w
	}
	t.Run("it gets its name when all is done", func(t *testing.T) {
		d, _ := open(t, "app.tar")
		if got := names(t, "."); len(got) != 1 || got[0] == "app.tar" {
			t.Errorf("before, there is %q", got)
		}
		if err := errors.Join(d.Commit(), d.Close()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("app.tar")
		info, _ := os.Stat("app.tar")
		if err != nil || string(text) != "new" || info.Mode() != 0o644 || len(names(t, ".")) != 1 {
			t.Errorf("error %v; %v holds %q; there is %q", err, info.Mode(), text, names(t, "."))
		}
	})
	t.Run("a failure leaves what was there", func(t *testing.T) {
		d, _ := open(t, "app.tar")
		if err := os.WriteFile("app.tar", []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("app.tar")
		if err != nil || string(text) != "old" || len(names(t, ".")) != 1 {
			t.Errorf("error %v; it holds %q; there is %q", err, text, names(t, "."))
		}
	})
	t.Run("a name that cannot be had", func(t *testing.T) {
		d, _ := open(t, "app.tar")
		if err := os.MkdirAll("app.tar/full", 0o700); err != nil {
			t.Fatal(err)
		}
		err := d.Commit()
		if err == nil || !strings.HasPrefix(err.Error(), `writing "app.tar": `) {
			t.Errorf("got %v", err)
		}
		if err := d.Close(); err != nil || len(names(t, ".")) != 1 {
			t.Errorf("error %v; there is %q", err, names(t, "."))
		}
	})
	t.Run("the solver never opened it", func(t *testing.T) {
		d, err := coordinator.NewDelivery(&coordinator.Request{Outputs: outputs(t, "type=tar,dest=/nonexistent/app.tar")}, io.Discard)
		if err := errors.Join(err, d.Commit(), d.Close()); err != nil {
			t.Error(err)
		}
		if _, err := d.Exports[0].Tar(); err == nil || !strings.HasPrefix(err.Error(), `writing "/nonexistent/app.tar": `) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("standard output is written to and stays open", func(t *testing.T) {
		var stdout bytes.Buffer
		d, err := coordinator.NewDelivery(&coordinator.Request{Outputs: outputs(t, "-")}, &stdout)
		if err != nil {
			t.Fatal(err)
		}
		w, err := d.Exports[0].Tar()
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(w, "tar")
		if err := errors.Join(err, w.Close(), d.Commit(), d.Close()); err != nil || stdout.String() != "tar" {
			t.Errorf("error %v; got %q", err, &stdout)
		}
	})
}

func TestDeliver(t *testing.T) {
	want := []platforms.Platform{platforms.MustParse("arm64"), platforms.MustParse("amd64")}
	both := []string{"type=oci,dest=a.tar", "type=oci,tar=false,dest=layout"}
	for _, test := range []struct {
		rule    string
		asked   []platforms.Platform
		built   []platforms.Platform
		outputs []string
		there   []string
		images  int
		err     string
	}{
		{"an index in the order asked for", want, []platforms.Platform{want[1], want[0]}, both, []string{"a.tar", "layout"}, 2, ""},
		{"an archive for docker load, without attestations", want[:1], want[:1], []string{"type=docker,dest=a.tar"}, []string{"a.tar"}, 1, ""},
		{"what was not asked for is refused", want[:1], want, both, nil, 0, "checking the result: "},
		{"what is missing is refused", want, want[:1], both, nil, 0, "merging images: no image for linux/amd64"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Chdir(t.TempDir())
			request := &coordinator.Request{Outputs: outputs(t, test.outputs...), Tags: []string{"r.example/a:1"}}
			request.Platforms = test.asked
			d, err := coordinator.NewDelivery(request, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			store := blobs{}
			root := store.index(t, test.built...)
			store.write(t, d.Staging)
			result, err := d.Deliver(t.Context(), request, io.Discard, solved(root))
			if closed := d.Close(); closed != nil {
				t.Error(closed)
			}
			if diff := cmp.Diff(test.there, names(t, ".")); diff != "" {
				t.Errorf("files: want -, got +:\n%s", diff)
			}
			var refused *coordinator.RefusedError
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.err) || errors.As(err, &refused) != strings.HasPrefix(test.err, "checking") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || len(result.Images) != test.images || result.Images[0].Platform != want[0] || len(result.Refs) > 0 {
				t.Errorf("error %v; got %+v", err, result)
			}
		})
	}
}
