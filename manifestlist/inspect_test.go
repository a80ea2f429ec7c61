// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// inspected is what Inspect should say of an index of s.
func inspected(t *testing.T, s stage, idx manifestlist.Index, reference string) *manifestlist.Inspection {
	t.Helper()
	want := &manifestlist.Inspection{
		Reference: reference, Digest: idx.Descriptor.Digest, MediaType: idx.Descriptor.MediaType, Size: idx.Descriptor.Size, Raw: idx.Raw,
	}
	for _, image := range idx.Images {
		var m ocispec.Manifest
		must(t, json.Unmarshal(s.read(image.Manifest), &m))
		out := manifestlist.InspectedImage{
			Platform: image.Platform, Digest: image.Manifest.Digest, MediaType: image.Manifest.MediaType, Size: image.Manifest.Size,
			Config: m.Config.Digest, Layers: 2, LayersSize: m.Layers[0].Size + m.Layers[1].Size,
			Entrypoint: []string{"/hello"}, Cmd: []string{image.Platform.String()}, User: "65534",
			Attestations: []manifestlist.InspectedAttestation{},
		}
		for _, a := range image.Attestations {
			out.Attestations = append(out.Attestations, manifestlist.InspectedAttestation{Digest: a.Digest, Size: a.Size, Kinds: []string{"provenance"}})
		}
		want.Images = append(want.Images, out)
	}
	return want
}

func TestInspect(t *testing.T) {
	r := newRegistry(t)
	s := newStage(t)
	idx := s.merged(true, "linux/arm/v7", "linux/amd64")
	c := newClient(t, manifestlist.Config{})
	_, err := c.Push(t.Context(), idx, []manifestlist.Reference{r.ref(t, "app:v1")}, s.dir)
	must(t, err)
	dir := filepath.Join(t.TempDir(), "out")
	must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, manifestlist.LayoutConfig{Dir: dir, Names: names(t, "me/app:v1")}))
	byDigest := "@" + idx.Descriptor.Digest.String()
	tests := []struct{ name, source, reference string }{
		{"a tag", r.host + "/app:v1", r.host + "/app:v1"},
		{"a digest", r.host + "/app" + byDigest, r.host + "/app" + byDigest},
		{"the only image of a layout", dir, "oci-layout://" + dir},
		{"a tag of a layout", "oci-layout://" + dir + ":v1", "oci-layout://" + dir + ":v1"},
		{"a digest of a layout", dir + byDigest, "oci-layout://" + dir + byDigest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.Inspect(t.Context(), tt.source)
			must(t, err)
			if diff := cmp.Diff(inspected(t, s, idx, tt.reference), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			desc, raw, err := c.Fetch(t.Context(), tt.source)
			must(t, err)
			if diff := cmp.Diff(idx.Descriptor, desc); diff != "" || string(raw) != string(idx.Raw) {
				t.Errorf("Fetch (-want +got)\n%s", diff)
			}
		})
	}
	t.Run("a single manifest has the platform of its config", func(t *testing.T) {
		got, err := c.Inspect(t.Context(), r.host+"/app@"+idx.Images[0].Manifest.Digest.String())
		must(t, err)
		want := inspected(t, s, idx, got.Reference).Images[0]
		want.Attestations = []manifestlist.InspectedAttestation{}
		if diff := cmp.Diff([]manifestlist.InspectedImage{want}, got.Images); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("in JSON a platform is one word, and the raw bytes are left out", func(t *testing.T) {
		report, err := c.Inspect(t.Context(), dir)
		must(t, err)
		raw, err := json.Marshal(report)
		must(t, err)
		if !strings.Contains(string(raw), `"images":[{"platform":"linux/arm/v7","digest":"sha256:`) || strings.Contains(string(raw), "Raw") {
			t.Errorf("got %s", raw)
		}
	})
}

func TestInspectTakesWhatItFinds(t *testing.T) {
	s := newStage(t)
	image := s.image("linux/amd64", false)
	sbom := s.put("application/vnd.in-toto+json", []byte(`{}`))
	sbom.Annotations = map[string]string{"in-toto.io/predicate-type": "https://spdx.dev/Document"}
	other := sbom
	other.Annotations = map[string]string{"in-toto.io/predicate-type": "https://example.com/scan/v1"}
	attestation := s.putJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: s.put(ocispec.MediaTypeImageConfig, []byte(`{}`)), Layers: []ocispec.Descriptor{sbom, other, sbom},
	})
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.Digest.String()}
	orphan := attestation
	orphan.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": string(someDigest)}
	nested := s.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{})
	artifact := s.putJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON},
	})
	root := s.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Annotations: map[string]string{"a": "b"}, Manifests: []ocispec.Descriptor{image, attestation, orphan, nested, artifact},
	})
	dir := string(s.dir)
	raw, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{root}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), raw, 0o644))

	got, err := newClient(t, manifestlist.Config{}).Inspect(t.Context(), dir)
	must(t, err)
	if diff := cmp.Diff(map[string]string{"a": "b"}, got.Annotations); diff != "" {
		t.Errorf("annotations (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]ocispec.Descriptor{orphan, nested}, got.Others); diff != "" {
		t.Errorf("others (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"https://example.com/scan/v1", "sbom"}, got.Images[0].Attestations[0].Kinds); diff != "" {
		t.Errorf("kinds (-want +got)\n%s", diff)
	}
	want := manifestlist.InspectedImage{
		Digest: artifact.Digest, MediaType: artifact.MediaType, Size: artifact.Size, Config: ocispec.DescriptorEmptyJSON.Digest,
		Layers: 1, LayersSize: 2, Attestations: []manifestlist.InspectedAttestation{}, Platform: platforms.Platform{},
	}
	if diff := cmp.Diff(want, got.Images[1]); diff != "" {
		t.Errorf("artifact (-want +got)\n%s", diff)
	}
}

func TestInspectRefuses(t *testing.T) {
	r := newRegistry(t)
	s, idx := pushed(t, r, "app")
	c := newClient(t, manifestlist.Config{})
	layout := filepath.Join(t.TempDir(), "out")
	must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, manifestlist.LayoutConfig{Dir: layout, Names: names(t, "app:v1")}))
	other := s.merged(false, "linux/riscv64", "linux/s390x")
	must(t, manifestlist.WriteLayout(t.Context(), other, s.dir, manifestlist.LayoutConfig{Dir: layout, Names: names(t, "app:v2")}))
	tests := []struct{ name, source, says, hints string }{
		{"a tag that is not there", r.host + "/app:v9", "MANIFEST_UNKNOWN", "check the spelling"},
		{"a name that is none", r.host + "/App", "reading reference", "lower case"},
		{"a directory that is no layout", t.TempDir(), "index.json", "a directory with oci-layout"},
		{"one of several images of a layout", layout, "several images", "docker.io/library/app:v1, docker.io/library/app:v2"},
		{"a tag that is not in a layout", layout + ":v3", "no such image", "docker.io/library/app:v1"},
		{"a digest that is not in a layout", layout + "@" + string(someDigest), "no such image", "docker.io/library/app:v1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Inspect(t.Context(), tt.source)
			wantError(t, err, tt.says, tt.hints)
		})
	}
	t.Run("a directory that was taken for a reference", func(t *testing.T) {
		t.Chdir(filepath.Dir(layout))
		c := newClient(t, manifestlist.Config{})
		down := newRegistry(t)
		down.answer(refuse("GET", "", 404, "NAME_UNKNOWN"))
		must(t, os.MkdirAll(down.host, 0o755))
		must(t, os.Rename(layout, filepath.Join(down.host, "out")))
		_, err := c.Inspect(t.Context(), down.host+"/out")
		wantError(t, err, "NAME_UNKNOWN", "write ./"+down.host+"/out")
	})
}

func TestInspectVerifies(t *testing.T) {
	r := newRegistry(t)
	_, idx := pushed(t, r, "app")
	ref := r.host + "/app@" + idx.Descriptor.Digest.String()
	var manifest ocispec.Manifest
	c := newClient(t, manifestlist.Config{})
	raw, err := manifestlist.ReadBlob(t.Context(), c.Repository(r.ref(t, "app")), idx.Images[0].Manifest)
	must(t, err)
	must(t, json.Unmarshal(raw, &manifest))
	tests := []struct{ name, path string }{
		{"the index", "manifests/" + idx.Descriptor.Digest.String()},
		{"a manifest", "manifests/" + idx.Images[1].Manifest.Digest.String()},
		{"an attestation", "manifests/" + idx.Images[1].Attestations[0].Digest.String()},
		{"a config", "blobs/" + manifest.Config.Digest.String()},
	}
	for _, tt := range tests {
		t.Run("a registry that lies about "+tt.name, func(t *testing.T) {
			r.answer(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasSuffix(req.URL.Path, tt.path) {
					return false
				}
				_, _ = w.Write([]byte(`{"mediaType":"` + ocispec.MediaTypeImageIndex + `"}`))
				return true
			})
			_, err := c.Inspect(t.Context(), ref)
			var wrong *manifestlist.DigestError
			if !errors.As(err, &wrong) || wrong.Source != r.host {
				t.Errorf("got %v", err)
			}
		})
		t.Run("a registry that ends early once in "+tt.name, func(t *testing.T) {
			var ended atomic.Bool
			r.answer(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasSuffix(req.URL.Path, tt.path) || ended.Swap(true) {
					return false
				}
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte("{"))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			_, err := c.Inspect(t.Context(), ref)
			must(t, err)
			if !ended.Load() {
				t.Error("it was not asked for")
			}
		})
		r.answer(nil)
	}
}
