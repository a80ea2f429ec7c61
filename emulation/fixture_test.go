// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/platforms"
)

// member is one of a layer's: a regular file, if the header has no other type.
type member struct {
	tar.Header
	content []byte
}

func file(name string, content []byte) member {
	return member{tar.Header{Name: name, Mode: 0o755}, content}
}

// layer makes a tar. One whose last member claims to be longer than it is, is cut off there.
func layer(t testing.TB, entries ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if e.Size == 0 {
			e.Size = int64(len(e.content))
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.content); err != nil {
			t.Fatal(err)
		}
		if e.Size != int64(len(e.content)) {
			return out.Bytes()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(plain, nil)
}

// layout is an OCI image layout in the making.
type layout struct {
	t   *testing.T
	dir string
}

func newLayout(t *testing.T) layout {
	t.Helper()
	l := layout{t, t.TempDir()}
	l.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return l
}

func (l layout) write(name string, content []byte) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l layout) blob(mediaType string, content []byte) ocispec.Descriptor {
	l.t.Helper()
	d := digest.FromBytes(content)
	l.write("blobs/sha256/"+d.Encoded(), content)
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func (l layout) json(mediaType string, v any) ocispec.Descriptor {
	l.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.blob(mediaType, text)
}

// manifest adds an image of this machine's platform.
func (l layout) manifest(layers ...ocispec.Descriptor) ocispec.Descriptor {
	l.t.Helper()
	config := l.json(ocispec.MediaTypeImageConfig, map[string]string{"os": "linux", "architecture": platforms.Host().Architecture})
	d := l.json(ocispec.MediaTypeImageManifest, map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config, "layers": layers,
	})
	host := platforms.Host().OCI()
	d.Platform = &host
	return d
}

func (l layout) index(list ...ocispec.Descriptor) ocispec.Descriptor {
	l.t.Helper()
	return l.json(ocispec.MediaTypeImageIndex, map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list,
	})
}

// end writes index.json and returns the layout's name.
func (l layout) end(list ...ocispec.Descriptor) string {
	l.t.Helper()
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": list})
	if err != nil {
		l.t.Fatal(err)
	}
	l.write("index.json", text)
	return "oci-layout://" + l.dir
}

// image is a layout of one image with these layers.
func image(t *testing.T, layers ...[]byte) string {
	t.Helper()
	l := newLayout(t)
	var list []ocispec.Descriptor
	for _, content := range layers {
		list = append(list, l.blob(ocispec.MediaTypeImageLayer, content))
	}
	return l.end(l.manifest(list...))
}

// archive packs a layout into a tar.
func archive(t *testing.T, layout string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.tar")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(out)
	if err := w.AddFS(os.DirFS(strings.TrimPrefix(layout, "oci-layout://"))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return "oci-archive://" + name
}

// contentOf reads a program of this machine's.
func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	content, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
