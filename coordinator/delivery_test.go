// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

var equateEmpty = cmpopts.EquateEmpty()

// tree makes empty files in a directory that becomes the current one.
func tree(t *testing.T, files ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range files {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

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
		Exports  []export
		Refs     []string
		Names    [][]string
		Insecure bool
	}
	push := func(repos string, more ...string) []export {
		out := export{Type: "image", Attrs: attrs{"push": "true", "push-by-digest": "true", "name": repos}}
		for i := 0; i < len(more); i += 2 {
			out.Attrs[more[i]] = more[i+1]
		}
		return []export{out}
	}
	layout := func(names string, more ...string) []export {
		out := export{Type: "oci", Attrs: attrs{"tar": "false"}, Blobs: true}
		if names != "" {
			out.Attrs["name"] = names
		}
		for i := 0; i < len(more); i += 2 {
			out.Attrs[more[i]] = more[i+1]
		}
		return []export{out}
	}
	const x, y = "docker.io/library/x:latest", "docker.io/library/y:latest"
	tags := []string{"r.example/a:1", "r.example/a:2", "r.example/b:1"}
	one := coordinator.Request{Tags: tags[:1]}
	onePush := coordinator.Request{Tags: tags[:1], Push: true}
	for _, test := range []struct {
		rule    string
		request coordinator.Request
		outputs []string
		want    delivery
	}{
		{"nothing is made", coordinator.Request{Tags: tags}, nil, delivery{}},
		{"the cache alone", coordinator.Request{}, []string{"type=cacheonly"}, delivery{}},
		{"--push sends every tag, by digest first", coordinator.Request{Tags: tags, Push: true}, nil,
			delivery{Exports: push("r.example/a,r.example/b"), Refs: tags}},
		{"-o type=registry is the same", coordinator.Request{Tags: tags}, []string{"type=registry"},
			delivery{Exports: push("r.example/a,r.example/b"), Refs: tags}},
		{"both at once push once", onePush, []string{"type=registry,compression=zstd"},
			delivery{Exports: push("r.example/a", "compression", "zstd"), Refs: tags[:1]}},
		{"--push makes an image output push", onePush, []string{"type=image,push=false"}, delivery{Exports: push("r.example/a"), Refs: tags[:1]}},
		{"name= adds references", one, []string{`type=image,push=true,"name=r.example/a:1,r.example/c"`},
			delivery{Exports: push("r.example/a,r.example/c"), Refs: []string{"r.example/a:1", "r.example/c:latest"}}},
		{"two pushes of one reference tag it once", one, []string{"type=registry", "type=registry,name=y"},
			delivery{Exports: push("r.example/a,docker.io/library/y"), Refs: []string{"r.example/a:1", y}}},
		{"an image output that does not push", one, []string{"type=image,name=x,compression=zstd"},
			delivery{Exports: []export{{Type: "image", Attrs: attrs{"compression": "zstd"}}}}},
		{"push-by-digest= pushes without a tag", coordinator.Request{}, []string{"type=image,name=x,push-by-digest=true,name-canonical=true,push=true"},
			delivery{Exports: push("docker.io/library/x"), Refs: []string{"docker.io/library/x"}}},
		{"--insecure-registry", coordinator.Request{Tags: tags[:1], Push: true, InsecureRegistry: true}, nil,
			delivery{Exports: push("r.example/a", "registry.insecure", "true"), Refs: tags[:1], Insecure: true}},
		{"registry.insecure= is the same, for the index, too", one, []string{"type=registry,registry.insecure=true"},
			delivery{Exports: push("r.example/a", "registry.insecure", "true"), Refs: tags[:1], Insecure: true}},
		{"a layout goes by way of a directory", one, []string{"type=oci,dest=app.tar,compression=zstd"},
			delivery{Exports: layout("r.example/a:1", "compression", "zstd"), Names: [][]string{tags[:1]}}},
		{"a layout without a name", coordinator.Request{}, []string{"type=docker,dest=-"}, delivery{Exports: layout(""), Names: [][]string{nil}}},
		{"layouts share that directory, each with its names", coordinator.Request{},
			[]string{"type=oci,dest=a.tar,name=x", "type=oci,tar=false,dest=b,name=y", "type=docker,dest=c"},
			delivery{Exports: layout(x + "," + y), Names: [][]string{{x}, {y}, nil}}},
		{"what is in a layout is pushed from there, and its name is not", onePush, []string{"type=oci,dest=a.tar,name=x"},
			delivery{Exports: layout("r.example/a:1," + x), Refs: tags[:1], Names: [][]string{{tags[0], x}}}},
		{"files", coordinator.Request{}, []string{"out", "type=tar,dest=out.tar,platform-split=false", "-"}, delivery{
			Exports: []export{{Type: "local", Dir: "out"}, {Type: "tar", Attrs: attrs{"platform-split": "false"}, Tar: true}, {Type: "tar", Tar: true}},
		}},
		{"annotations go to images only", coordinator.Request{Tags: tags[:1], Annotations: []string{"a=b", "index:c=d"}}, []string{"out", "type=registry"}, delivery{
			Exports: append([]export{{Type: "local", Dir: "out"}}, push("r.example/a", "annotation-manifest.a", "b")...), Refs: tags[:1],
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
			got := delivery{Refs: texts(d.Refs), Insecure: d.Insecure}
			for _, names := range d.Names {
				got.Names = append(got.Names, texts(names))
			}
			for _, e := range d.Exports {
				if e.Blobs != d.Staging && e.Blobs != "" {
					t.Errorf("blobs go to %s, not to %s", e.Blobs, d.Staging)
				}
				got.Exports = append(got.Exports, export{e.Type, e.Attrs, e.Dir, e.Blobs != "", e.Tar != nil})
			}
			if diff := cmp.Diff(test.want, got, equateEmpty); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if d.Staging != "" && len(names(t, d.Staging)) > 0 {
				t.Errorf("in the staging directory there is %q", names(t, d.Staging))
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if left := names(t, "."); len(left) > 0 {
				t.Errorf("left is %q", left)
			}
		})
	}
	for _, o := range outputs(t, "type=registry,compression=zstd") {
		if _, err := coordinator.NewDelivery(&coordinator.Request{Tags: tags, Annotations: []string{"a=b"}, Outputs: []coordinator.Output{o}}, io.Discard); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(attrs{"push": "true", "compression": "zstd"}, o.Attrs); diff != "" {
			t.Errorf("the request itself was changed: want -, got +:\n%s", diff)
		}
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
		{"a layout and a push with different settings", coordinator.Request{Tags: []string{"a"}}, []string{"type=oci,dest=a,compression=zstd", "type=registry"}, "different settings", ""},
		{"several platforms for docker load", coordinator.Request{Request: request("amd64", "arm64")}, []string{"type=tar,dest=b", "type=docker,dest=a"},
			"a docker archive holds one platform, not 2", "type=oci"},
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
	for value, want := range map[string]string{
		"type=oci,dest=none/app.tar": "making a directory for the image's blobs: ",
		"type=tar,dest=none/app.tar": `writing "none/app.tar": `,
		"file/out":                   `writing to "file/out": `,
		"file":                       `writing to "file": "file" is not a directory`,
	} {
		t.Run("nowhere to put "+value, func(t *testing.T) {
			tree(t, "file")
			_, err := coordinator.NewDelivery(&coordinator.Request{Outputs: outputs(t, "type=tar,dest=good.tar", value)}, io.Discard)
			if err == nil || !strings.HasPrefix(err.Error(), want) || isUsage(err) {
				t.Errorf("got %v", err)
			}
			if left := names(t, "."); len(left) != 1 {
				t.Errorf("left is %q", left)
			}
		})
	}
	t.Run("a directory is made by the solver", func(t *testing.T) {
		tree(t)
		d, err := coordinator.NewDelivery(&coordinator.Request{Outputs: outputs(t, "some/where/new")}, io.Discard)
		if err != nil || len(names(t, ".")) > 0 {
			t.Fatalf("error %v; there is %q", err, names(t, "."))
		}
		if err := d.Close(); err != nil {
			t.Error(err)
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
		blobs   int // in a.tar
		err     string
	}{
		// The index; manifest, config and layer of two images; manifest and statement of two attestations, which share a config.
		{"an index in the order asked for", want, []platforms.Platform{want[1], want[0]}, both, []string{"a.tar", "layout"}, 2, 1 + 6 + 5, ""},
		{"an archive for docker load, without attestations", want[:1], want[:1], []string{"type=docker,dest=a.tar"}, []string{"a.tar"}, 1, 3, ""},
		{"what was not asked for is refused", want[:1], want, both, nil, 0, 0, "checking the result: "},
		{"what is missing is refused", want, want[:1], both, nil, 0, 0, "merging images: no image for linux/amd64"},
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
			if got := blobsIn(t, "a.tar"); got != test.blobs {
				t.Errorf("%d blobs in the archive, want %d", got, test.blobs)
			}
		})
	}
}

func blobsIn(t *testing.T, archive string) int {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	n := 0
	for r := tar.NewReader(f); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(head.Name, "blobs/sha256/") && head.Typeflag == tar.TypeReg {
			n++
		}
	}
}

func TestDeliverUnread(t *testing.T) {
	t.Chdir(t.TempDir())
	request := &coordinator.Request{Outputs: outputs(t, "type=oci,dest=a.tar"), Request: request("amd64")}
	d, err := coordinator.NewDelivery(request, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	store := blobs{}
	root := store.image(t, request.Platforms[0])
	for name, b := range store {
		if b.mediaType == ocispec.MediaTypeImageConfig {
			delete(store, name)
		}
	}
	store.write(t, d.Staging)
	_, err = d.Deliver(t.Context(), request, io.Discard, solved(root))
	var refused *coordinator.RefusedError
	if err == nil || errors.As(err, &refused) {
		t.Errorf("a config that cannot be read is no finding of the check; got %v", err)
	}
}
