// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/mab-build/mab/manifestlist"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// withReferrers has the registry know the referrers API.
func (r *testRegistry) withReferrers() *testRegistry {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	r.answer(func(w http.ResponseWriter, req *http.Request) bool {
		inner.ServeHTTP(w, req)
		return true
	})
	return r
}

// referrersOf asks a registry in go-containerregistry's way, which knows the API and the tag.
func referrersOf(t *testing.T, r *testRegistry, repo string, idx manifestlist.Index) []string {
	t.Helper()
	ref, err := name.NewDigest(r.host + "/" + repo + "@" + idx.Descriptor.Digest.String())
	must(t, err)
	found, err := remote.Referrers(ref)
	must(t, err)
	list, err := found.IndexManifest()
	must(t, err)
	var out []string
	for _, desc := range list.Manifests {
		out = append(out, desc.Digest.String())
		image, err := remote.Image(ref.Context().Digest(desc.Digest.String()))
		must(t, err)
		layers, err := image.Layers()
		must(t, err)
		content, err := layers[0].Compressed()
		must(t, err)
		raw, err := io.ReadAll(content)
		must(t, err)
		out = append(out, string(raw))
	}
	return out
}

// told gives an index a referrer that says something of it.
func told(t *testing.T, idx manifestlist.Index, what string, names ...manifestlist.Reference) manifestlist.Index {
	t.Helper()
	var err error
	idx.Referrer, err = manifestlist.NewReferrer(idx, names, "https://example.com/said", map[string]string{"said": what})
	must(t, err)
	return idx
}

func TestNewReferrer(t *testing.T) {
	idx := newStage(t).merged(true, "linux/amd64")
	got := told(t, idx, "so", manifestlist.Reference{Registry: "docker.io", Repository: "library/alpine", Tag: "3"},
		manifestlist.Reference{Registry: "localhost:5000", Repository: "a/b", Tag: "v1"}, manifestlist.Reference{Registry: "docker.io", Repository: "a/b"}).Referrer
	digest := fmt.Sprintf(`{"sha256":%q}`, idx.Descriptor.Digest.Encoded())
	want := `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.com/said","subject":[` +
		`{"name":"pkg:docker/alpine@3","digest":` + digest + `},{"name":"pkg:docker/localhost%3A5000/a/b@v1","digest":` + digest + `},` +
		`{"name":"pkg:docker/a/b","digest":` + digest + `}],"predicate":{"said":"so"}}`
	if diff := cmp.Diff(want, strings.NewReplacer("\n", "", "  ", "", ": ", ":").Replace(string(got.Statement))); diff != "" {
		t.Errorf("statement (-want +got)\n%s", diff)
	}
	var m ocispec.Manifest
	must(t, json.Unmarshal(got.Raw, &m))
	if m.ArtifactType != manifestlist.InTotoType || m.Config.MediaType != ocispec.MediaTypeEmptyJSON || m.Subject.Digest != idx.Descriptor.Digest ||
		m.Layers[0].MediaType != manifestlist.InTotoType || got.Descriptor.ArtifactType != m.ArtifactType {
		t.Errorf("%s\ndescribed as %+v", got.Raw, got.Descriptor)
	}
	if again := told(t, idx, "so").Referrer; !strings.Contains(string(again.Statement), `"name": "`+idx.Descriptor.Digest.String()+`"`) {
		t.Errorf("without names: %s", again.Statement)
	}
	if _, err := manifestlist.NewReferrer(idx, nil, "", make(chan int)); err == nil {
		t.Error("what has no JSON was told")
	}
}

func TestPushReferrer(t *testing.T) {
	for _, test := range []struct {
		rule string
		api  bool
		// tags are those of the repository beside the user's.
		tags int
	}{{"by the API", true, 0}, {"by a tag where there is no API", false, 1}} {
		t.Run(test.rule, func(t *testing.T) {
			r := newRegistry(t)
			if test.api {
				r.withReferrers()
			}
			s := newStage(t)
			idx := told(t, s.merged(true, "linux/amd64", "linux/arm64"), "one")
			refs := []manifestlist.Reference{r.ref(t, "app:v1")}
			push := func(idx manifestlist.Index) []string {
				t.Helper()
				_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs, s.dir)
				must(t, err)
				return r.seen()
			}
			requests := push(idx)
			if last := requests[len(requests)-1]; last != put("app", "v1") {
				t.Errorf("the last request is %s", last)
			}
			one := []string{idx.Referrer.Descriptor.Digest.String(), string(idx.Referrer.Statement)}
			if diff := cmp.Diff(one, referrersOf(t, r, "app", idx)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			r.seen()
			for _, request := range push(idx) {
				if strings.HasPrefix(request, "POST") || request == put("app", one[0]) || strings.HasPrefix(request, put("app", "sha256-")) {
					t.Errorf("the second time: %s", request)
				}
			}
			other := told(t, idx, "two")
			push(other)
			want := append(one, other.Referrer.Descriptor.Digest.String(), string(other.Referrer.Statement))
			got := referrersOf(t, r, "app", idx)
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("both (-want +got)\n%s", diff)
			}
			repo, err := name.NewRepository(r.host + "/app")
			must(t, err)
			tags, err := remote.List(repo)
			must(t, err)
			if len(tags) != 1+test.tags {
				t.Errorf("tags: %q", tags)
			}
		})
	}
}

func TestPushReferrerRefused(t *testing.T) {
	for _, test := range []struct {
		rule   string
		answer func(manifestlist.Index) func(http.ResponseWriter, *http.Request) bool
		says   string
		pushed bool
	}{
		{"a registry that takes no artifacts gets the tag", func(idx manifestlist.Index) func(http.ResponseWriter, *http.Request) bool {
			return refuse("PUT", idx.Referrer.Descriptor.Digest.String(), 400, "MANIFEST_INVALID")
		}, "MANIFEST_INVALID", true},
		{"a registry that takes no such tag gets the other", func(idx manifestlist.Index) func(http.ResponseWriter, *http.Request) bool {
			return refuse("PUT", "sha256-"+idx.Descriptor.Digest.Encoded(), 403, "DENIED")
		}, "DENIED", true},
		{"a registry that answers nothing gets no tag", func(idx manifestlist.Index) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				return strings.HasSuffix(r.URL.Path, idx.Referrer.Descriptor.Digest.String()) && cut(w, r)
			}
		}, "EOF", false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			r := newRegistry(t)
			s, idx := pushed(t, r, "app")
			idx = told(t, idx, "so")
			r.answer(test.answer(idx))
			_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{r.ref(t, "app:v1")}, s.dir)
			_, refused := err.(*manifestlist.ReferrerError) //nolint:errorlint // it is not wrapped
			if err == nil || !strings.Contains(err.Error(), test.says) || refused != test.pushed {
				t.Errorf("%T: %v", err, err)
			}
			r.answer(nil)
			want := idx.Descriptor.Digest
			if !test.pushed {
				want = ""
			}
			resolves(t, r, "app", "v1", want)
		})
	}
}

// TestReferrerInLayout: a layout has the referrer as an entry without a name, and the image is still found without one.
func TestReferrerInLayout(t *testing.T) {
	s := newStage(t)
	idx := told(t, s.merged(true, "linux/arm64", "linux/amd64"), "so", names(t, "me/app:v1")...)
	dir, file := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "file.tar")
	for range 2 { // again is the same
		must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, manifestlist.LayoutConfig{Dir: dir, Names: names(t, "me/app:v1")}))
		must(t, manifestlist.WriteArchive(t.Context(), idx, s.dir, manifestlist.ArchiveConfig{File: file, Names: names(t, "me/app:v1")}))
	}
	must(t, os.Mkdir(dir+".tar", 0o755))
	if out, err := exec.Command("tar", "-xf", file, "-C", dir+".tar").CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	for _, path := range []string{dir, dir + ".tar"} {
		files := tree(t, path)
		var index ocispec.Index
		must(t, json.Unmarshal([]byte(files["index.json"]), &index))
		var got []string
		for _, d := range index.Manifests {
			got = append(got, d.Digest.String()+" "+d.ArtifactType+" "+d.Annotations[ocispec.AnnotationRefName])
		}
		if diff := cmp.Diff([]string{idx.Descriptor.Digest.String() + "  v1", idx.Referrer.Descriptor.Digest.String() + " " + manifestlist.InTotoType + " "}, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", path, diff)
		}
		var artifact ocispec.Manifest
		must(t, json.Unmarshal([]byte(files["blobs/sha256/"+idx.Referrer.Descriptor.Digest.Encoded()]), &artifact))
		if artifact.Subject.Digest != idx.Descriptor.Digest || files["blobs/sha256/"+artifact.Layers[0].Digest.Encoded()] != string(idx.Referrer.Statement) ||
			files["blobs/sha256/"+artifact.Config.Digest.Encoded()] != "{}" {
			t.Errorf("%s: %+v", path, artifact)
		}
	}
	client, err := manifestlist.New(manifestlist.Config{})
	must(t, err)
	defer client.Close()
	for _, source := range []string{dir, file} {
		desc, _, err := client.Fetch(t.Context(), source)
		if err != nil || desc.Digest != idx.Descriptor.Digest {
			t.Errorf("%s: %s, %v", source, desc.Digest, err)
		}
	}
}
