// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

type attrs = map[string]string

// hint returns what a user is told to do.
func hint(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

func isUsage(err error) bool {
	var usage interface{ Usage() bool }
	return errors.As(err, &usage) && usage.Usage()
}

func TestParseOutput(t *testing.T) {
	for _, test := range []struct {
		rule, value string
		want        coordinator.Output
		err         string
	}{
		{"a path is a directory", "out/bin", coordinator.Output{Type: "local", Dest: "out/bin"}, ""},
		{"- is a tar on standard output", "-", coordinator.Output{Type: "tar", Dest: "-"}, ""},
		{"a registry", "type=registry", coordinator.Output{Type: "image", Attrs: attrs{"push": "true"}}, ""},
		{"an image with settings", "type=image,name=r/a:1,push=true,compression=zstd",
			coordinator.Output{Type: "image", Attrs: attrs{"name": "r/a:1", "push": "true", "compression": "zstd"}}, ""},
		{"a layout in a tar", "type=oci,dest=app.tar", coordinator.Output{Type: "oci", Dest: "app.tar", Attrs: attrs{}}, ""},
		{"said twice", "type=oci,dest=app.tar,tar=true", coordinator.Output{Type: "oci", Dest: "app.tar", Attrs: attrs{}}, ""},
		{"a layout in a directory", "type=oci,tar=false,dest=app", coordinator.Output{Type: "oci", Dest: "app", Directory: true, Attrs: attrs{}}, ""},
		{"a layout with referrers", "type=oci,dest=a.tar,referrers=true", coordinator.Output{Type: "oci", Dest: "a.tar", Referrers: true, Attrs: attrs{}}, ""},
		{"a layout on standard output", "type=oci,dest=-", coordinator.Output{Type: "oci", Dest: "-", Attrs: attrs{}}, ""},
		{"an archive for docker load", "type=docker,dest=app.tar", coordinator.Output{Type: "docker", Dest: "app.tar", Attrs: attrs{}}, ""},
		{"files in a directory", "type=local,dest=out", coordinator.Output{Type: "local", Dest: "out", Attrs: attrs{}}, ""},
		{"files in a tar", "type=tar,dest=out.tar", coordinator.Output{Type: "tar", Dest: "out.tar", Attrs: attrs{}}, ""},
		{"the cache alone", "type=cacheonly", coordinator.Output{Type: "cacheonly", Attrs: attrs{}}, ""},
		{"keys in capitals, with spaces", "type=oci, Dest=app.tar, Compression=zstd",
			coordinator.Output{Type: "oci", Dest: "app.tar", Attrs: attrs{"compression": "zstd"}}, ""},
		{"a comma in quotes", `type=local,"dest=a,b"`, coordinator.Output{Type: "local", Dest: "a,b", Attrs: attrs{}}, ""},
		{"an equals sign in a path", "type=local,dest=a=b", coordinator.Output{Type: "local", Dest: "a=b", Attrs: attrs{}}, ""},

		{"an engine", "type=docker", coordinator.Output{Type: "docker", Attrs: attrs{}}, ""},
		{"a named engine", "type=docker,context=far", coordinator.Output{Type: "docker", Attrs: attrs{"context": "far"}}, ""},
		{"a directory for an engine", "type=docker,tar=false", coordinator.Output{}, "type=docker is always an archive"},

		{"nothing", "", coordinator.Output{}, `"": it is empty`},
		{"no type", "dest=app.tar", coordinator.Output{}, "it has no type"},
		{"an unknown type", "type=nydus,dest=a", coordinator.Output{}, `there is no type "nydus"`},
		{"a word alone", "type=oci,app.tar", coordinator.Output{}, `"app.tar" is not KEY=VALUE`},
		{"quotes that do not match", `type=local,"dest=a`, coordinator.Output{}, "its quotes do not match"},
		{"a layout nowhere", "type=oci", coordinator.Output{}, "type=oci needs dest=PATH"},
		{"files nowhere", "type=local", coordinator.Output{}, "type=local needs dest=PATH"},
		{"a directory on standard output", "type=local,dest=-", coordinator.Output{}, "use type=tar,dest=-"},
		{"a layout's directory on standard output", "type=oci,tar=false,dest=-", coordinator.Output{}, "a directory cannot be written to standard output"},
		{"a directory for docker load", "type=docker,tar=false,dest=a", coordinator.Output{}, "type=docker is always an archive"},
		{"a setting that the type does not have", "type=local,tar=false,dest=a", coordinator.Output{}, "tar=false does not go with type=local"},
		{"referrers of files", "type=local,dest=a,referrers=true", coordinator.Output{}, "referrers=true does not go with type=local"},
		{"neither true nor false", "type=oci,tar=maybe,dest=a", coordinator.Output{}, "tar=maybe does not go with type=oci"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := coordinator.ParseOutput(test.value)
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "understanding --output ") || !strings.HasSuffix(err.Error(), test.err) {
					t.Fatalf("got %v, want it to end in %s", err, test.err)
				}
				if !isUsage(err) || !strings.Contains(hint(err), "type=oci,tar=false,dest=DIR") {
					t.Errorf("usage error: %t, hint %q", isUsage(err), hint(err))
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}

func FuzzParseOutput(f *testing.F) {
	for _, seed := range []string{"", "-", "out", "type=registry", "type=oci,tar=false,dest=a", `type=local,"dest=a,b"`, "type=image,push=1,name=a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := coordinator.ParseOutput(value)
		if err != nil {
			if !isUsage(err) || hint(err) == "" {
				t.Fatalf("%v is no usage error with a hint", err)
			}
			return
		}
		// What is taken has somewhere to go to.
		switch got.Type {
		case "image", "cacheonly":
		case "local", "tar", "oci", "docker":
			if got.Dest == "" || got.Dest == "-" && (got.Type == "local" || got.Directory) {
				t.Fatalf("got %+v", got)
			}
		default:
			t.Fatalf("got %+v", got)
		}
	})
}

func TestUsesStdout(t *testing.T) {
	for value, want := range map[string]bool{"-": true, "type=oci,dest=-": true, "out": false, "type=registry": false} {
		out, err := coordinator.ParseOutput(value)
		if err != nil {
			t.Fatal(err)
		}
		request := coordinator.Request{Outputs: []coordinator.Output{{Type: "image"}, out}}
		if got := request.UsesStdout(); got != want {
			t.Errorf("%s: got %t", value, got)
		}
	}
}

func TestParseAnnotations(t *testing.T) {
	arm := platforms.MustParse("linux/arm64")
	type merge struct {
		Index, Descriptor attrs
		Manifests         map[platforms.Platform]attrs
	}
	for _, test := range []struct {
		rule  string
		list  []string
		attrs attrs
		merge merge
		err   string
	}{
		{"none", nil, attrs{}, merge{}, ""},
		{"the manifest is meant", []string{"a=b=c"}, attrs{"annotation-manifest.a": "b=c"}, merge{}, ""},
		{"or named", []string{"manifest:a="}, attrs{"annotation-manifest.a": ""}, merge{}, ""},
		{"of one platform", []string{"manifest[linux/aarch64]:a=b"}, attrs{"annotation-manifest[linux/arm64].a": "b"}, merge{}, ""},
		{"the index", []string{"index:a=b"}, attrs{}, merge{Index: attrs{"a": "b"}}, ""},
		{"its descriptor", []string{"index-descriptor:a=b"}, attrs{}, merge{Descriptor: attrs{"a": "b"}}, ""},
		{"the manifests' descriptors", []string{"manifest-descriptor:a=b", "manifest-descriptor:c=d", "manifest-descriptor[linux/arm64]:a=e"}, attrs{},
			merge{Manifests: map[platforms.Platform]attrs{{}: {"a": "b", "c": "d"}, arm: {"a": "e"}}}, ""},
		{"several levels at once", []string{"index,manifest[linux/arm64],manifest:a=b"},
			attrs{"annotation-manifest.a": "b", "annotation-manifest[linux/arm64].a": "b"}, merge{Index: attrs{"a": "b"}}, ""},
		{"a colon in the name", []string{"org.example:team=x", "index:org.example:team=y"}, attrs{"annotation-manifest.org.example:team": "x"}, merge{Index: attrs{"org.example:team": "y"}}, ""},
		{"a colon in the value", []string{"a=index:b"}, attrs{"annotation-manifest.a": "index:b"}, merge{}, ""},
		{"no value", []string{"a"}, nil, merge{}, `understanding --annotation "a"`},
		{"no name", []string{"index:=b"}, nil, merge{}, `understanding --annotation "index:=b"`},
		{"no such level", []string{"indx:a=b"}, nil, merge{}, `understanding --annotation "indx:a=b"`},
		{"no platform", []string{"manifest[vax]:a=b"}, nil, merge{}, `understanding --annotation "manifest[vax]:a=b": `},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, options, err := coordinator.ParseAnnotations(test.list)
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.err) || !isUsage(err) || hint(err) == "" {
					t.Fatalf("got %v, usage error: %t, hint %q", err, isUsage(err), hint(err))
				}
				return
			}
			if diff := cmp.Diff(test.attrs, got); err != nil || diff != "" {
				t.Errorf("attributes: error %v; want -, got +:\n%s", err, diff)
			}
			want := manifestlist.MergeOptions{
				IndexAnnotations: test.merge.Index, DescriptorAnnotations: test.merge.Descriptor, ManifestAnnotations: test.merge.Manifests,
			}
			if diff := cmp.Diff(want, options, equateEmpty); diff != "" {
				t.Errorf("merge: want -, got +:\n%s", diff)
			}
		})
	}
}
