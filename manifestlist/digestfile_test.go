// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestParseDigestFile(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	descriptor := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + a.String() + `","size":3}`
	for _, tt := range []struct{ rule, name, content, want, fault string }{
		{"an empty file named by the digest", a.Encoded(), "", a.String(), ""},
		{"with the algorithm", a.String(), "", a.String(), ""},
		{"as file systems like it", "sha256-" + a.Encoded(), "\n", a.String(), ""},
		{"--iidfile", "iid", a.String(), a.String(), ""},
		{"with a newline", "iid", a.String() + "\r\n", a.String(), ""},
		{"what a build printed", "out", "example.com/app@" + a.String() + "\n", "example.com/app@" + a.String(), ""},
		{"what was pushed with a tag", "out", "app:1@" + a.String(), "docker.io/library/app@" + a.String(), ""},
		{"--metadata-file", "m.json", `{"containerimage.digest":"` + a.String() + `","containerimage.descriptor":{"digest":"` + a.String() + `"},"image.name":"x"}`, a.String(), ""},
		{"with the descriptor alone", "m.json", `{"containerimage.descriptor":{"digest":"` + a.String() + `"}}`, a.String(), ""},
		{"of a bake with one target", "m.json", `{"buildx.build.warnings":[],"app":{"containerimage.digest":"` + a.String() + `"}}`, a.String(), ""},
		{"a descriptor", "d.json", descriptor, descriptor, ""},
		{"of a bake with two targets", "m.json", `{"x":{"containerimage.digest":"` + a.String() + `"},"y":{"containerimage.digest":"` + b.String() + `"}}`, "", "it names 2 images"},
		{"of what was not pushed", "m.json", `{"buildx.build.ref":"x"}`, "", "it names no image"},
		{"an empty file of another name", "digest.txt", "", "", "its name is no digest"},
		{"a digest that is cut", a.Encoded()[1:], "", "", "its name is no digest"},
		{"a reference without a digest", "out", "example.com/app:1", "", "it holds no digest"},
		{"any text", "README.md", "# Digests", "", "it holds no digest"},
		{"broken JSON", "m.json", `{"containerimage.digest`, "", "it is no JSON"},
		{"a descriptor without a digest", "d.json", `{"mediaType":"x"}`, "", "it is no descriptor"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := manifestlist.ParseDigestFile(tt.name, []byte(tt.content))
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) || hintOf(err) == "" {
					t.Fatalf("got %q, %v, hint %q", got, err, hintOf(err))
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestReadDigestFiles(t *testing.T) {
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	dir := t.TempDir()
	for name, content := range map[string]string{
		"digests-arm64/" + a.Encoded(): "", "digests-amd64/iid": b.String(), ".git/config": "[core]", ".hidden": "x", "single": c.String(), "again": a.String(),
	} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	got, err := manifestlist.ReadDigestFiles([]string{filepath.Join(dir, "single"), dir})
	must(t, err)
	if diff := cmp.Diff([]string{c.String(), a.String(), b.String()}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	_, err = manifestlist.ReadDigestFiles([]string{t.TempDir()})
	wantError(t, err, "there is none in", "--metadata-file")
	_, err = manifestlist.ReadDigestFiles([]string{filepath.Join(dir, "nowhere")})
	wantError(t, err, "nowhere", "--metadata-file")
	must(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("notes"), 0o644))
	_, err = manifestlist.ReadDigestFiles([]string{dir})
	wantError(t, err, "notes.txt", "each build leaves one")
}

// FuzzParseDigestFile: whatever is in a file, what is read is a digest, a reference with one, or a descriptor with one.
func FuzzParseDigestFile(f *testing.F) {
	a := digest.FromString("a").String()
	for _, seed := range []string{"", a, "app@" + a, `{"containerimage.digest":"` + a + `"}`, `{"mediaType":"x","digest":"` + a + `"}`, `{"x":{"containerimage.digest":1}}`} {
		f.Add("name", []byte(seed))
	}
	f.Add(a, []byte(nil))
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		source, err := manifestlist.ParseDigestFile(name, raw)
		if err != nil {
			if hintOf(err) == "" {
				t.Errorf("no hint: %v", err)
			}
			return
		}
		if strings.HasPrefix(source, "{") {
			var desc ocispec.Descriptor
			if err := json.Unmarshal([]byte(source), &desc); err != nil || desc.Digest.Validate() != nil {
				t.Errorf("%q: %v", source, err)
			}
			return
		}
		if digest.Digest(source).Validate() == nil {
			return
		}
		if ref, err := manifestlist.ParseReference(source); err != nil || ref.Digest.Validate() != nil {
			t.Errorf("%q: %v", source, err)
		}
	})
}

// FuzzEntries: whatever an index holds, what is read of it can be composed and annotated, and what comes of that can be read.
func FuzzEntries(f *testing.F) {
	seed := func(index ocispec.Index) {
		raw, err := json.Marshal(index)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	image := attested(pure("arm/v7", ""))
	seed(ocispec.Index{Manifests: []ocispec.Descriptor{pure("amd64", "").Manifest, image.Manifest, image.Attestations[0]}})
	seed(ocispec.Index{Annotations: map[string]string{"a": "b"}, Manifests: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageIndex}, image.Attestations[0], windows("1").Manifest}})
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","platform":null,"annotations":null}]}`))
	f.Add([]byte(`{"manifests":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		root := describe(ocispec.MediaTypeImageIndex, raw)
		images, orphans, err := manifestlist.Entries(root, raw)
		if err != nil {
			return
		}
		part := manifestlist.Part{Name: "fuzz", Root: root, Raw: raw, Images: images, Orphans: orphans}
		notes := manifestlist.MergeOptions{IndexAnnotations: map[string]string{"a": "b"}}
		if idx, err := manifestlist.Compose([]manifestlist.Part{part}, manifestlist.Composition{MergeOptions: notes, Sorted: true}); err == nil {
			again, others, err := manifestlist.Entries(idx.Descriptor, idx.Raw)
			if err != nil || len(again) != len(idx.Images) || len(others) != 0 {
				t.Errorf("composed %d images, read %d and %d others: %v\n%s", len(idx.Images), len(again), len(others), err, idx.Raw)
			}
		}
		if idx, err := manifestlist.Annotate(root, raw, manifestlist.Changes{MergeOptions: notes}); err == nil {
			if again, _, err := manifestlist.Entries(idx.Descriptor, idx.Raw); err != nil || len(again) != len(images) {
				t.Errorf("annotated %d images, read %d: %v", len(images), len(again), err)
			}
		}
		_, _ = manifestlist.Split(root, raw, nil)
	})
}
