// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// blobs is a content store. It answers as a registry that has one repository.
type blobs map[string]blob

type blob struct {
	mediaType string
	raw       []byte
}

func (b blobs) add(t *testing.T, mediaType string, content any) ocispec.Descriptor {
	t.Helper()
	raw, ok := content.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(content); err != nil {
			t.Fatal(err)
		}
	}
	dgst := digest.FromBytes(raw)
	b[dgst.String()] = blob{mediaType, raw}
	return ocispec.Descriptor{MediaType: mediaType, Digest: dgst, Size: int64(len(raw))}
}

// image adds an image of one layer.
func (b blobs) image(t *testing.T, p platforms.Platform) ocispec.Descriptor {
	t.Helper()
	return b.imageOf(t, p, "etc/platform", []byte(p.String()))
}

// imageOf adds an image of one layer, which has one file.
func (b blobs) imageOf(t *testing.T, p platforms.Platform, name string, content []byte) ocispec.Descriptor {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	layer := b.add(t, ocispec.MediaTypeImageLayer, archive.Bytes())
	config := b.add(t, ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: p.OCI(), RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
		History: []ocispec.History{{CreatedBy: "COPY " + name + " / # buildkit"}},
	})
	desc := b.add(t, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer},
	})
	oci := p.OCI()
	desc.Platform = &oci
	return desc
}

// index adds an index with an image and its attestation for each platform.
func (b blobs) index(t *testing.T, list ...platforms.Platform) ocispec.Descriptor {
	t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, p := range list {
		image := b.image(t, p)
		statement := b.add(t, "application/vnd.in-toto+json", map[string]any{"predicateType": "https://slsa.dev/provenance/v1", "subject": image.Digest})
		statement.Annotations = attrs{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}
		config := b.add(t, ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "unknown", Architecture: "unknown"}})
		attestation := b.add(t, ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{statement},
		})
		attestation.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
		attestation.Annotations = attrs{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.Digest.String()}
		index.Manifests = append(index.Manifests, image, attestation)
	}
	return b.add(t, ocispec.MediaTypeImageIndex, index)
}

// write puts all blobs into a directory as an OCI layout has them.
func (b blobs) write(t *testing.T, dir string) {
	t.Helper()
	dir = filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for dgst, blob := range b {
		if err := os.WriteFile(filepath.Join(dir, digest.Digest(dgst).Encoded()), blob.raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// ServeHTTP answers what is asked of a registry by digest, and by tags that were added as names.
func (b blobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	found, ok := b[name]
	switch {
	case name == "v2":
	case !ok:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", found.mediaType)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(found.raw).String())
		_, _ = w.Write(found.raw)
	}
}

func solved(root ocispec.Descriptor) *solver.Result { return &solver.Result{Index: root} }

func request(names ...string) solver.Request {
	var r solver.Request
	for _, name := range names {
		r.Platforms = append(r.Platforms, platforms.MustParse(name))
	}
	return r
}
