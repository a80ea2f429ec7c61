// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

// compared is an image that a test makes: its layers, and fields of its config.
type compared struct {
	layers [][]tar.Header
	// content is that of regular files, if it is not their name.
	content map[string]string
	level   int
	config  map[string]any
	notes   map[string]string
}

func (c compared) write(t *testing.T, dir manifestlist.BlobDir) manifestlist.Image {
	t.Helper()
	sound := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(mediaType string, raw []byte) ocispec.Descriptor {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		path, err := dir.Path(desc.Digest)
		sound(err)
		sound(os.MkdirAll(filepath.Dir(path), 0o755))
		sound(os.WriteFile(path, raw, 0o600))
		return desc
	}
	encode := func(v any) []byte {
		raw, err := json.Marshal(v)
		sound(err)
		return raw
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Annotations: c.notes}
	for _, layer := range c.layers {
		var out bytes.Buffer
		packed, err := gzip.NewWriterLevel(&out, max(1, c.level))
		sound(err)
		archive := tar.NewWriter(packed)
		for _, h := range layer {
			text := h.Name
			if other, ok := c.content[h.Name]; ok {
				text = other
			}
			if h.Typeflag == 0 {
				h.Typeflag, h.Size = tar.TypeReg, int64(len(text))
			}
			sound(archive.WriteHeader(&h))
			if h.Size > 0 {
				_, err := archive.Write([]byte(text))
				sound(err)
			}
		}
		sound(archive.Close())
		sound(packed.Close())
		m.Layers = append(m.Layers, put(ocispec.MediaTypeImageLayerGzip, out.Bytes()))
	}
	m.Config = put(ocispec.MediaTypeImageConfig, encode(c.config))
	return manifestlist.Image{Platform: platforms.MustParse("linux/amd64"), Manifest: put(m.MediaType, encode(m))}
}

func TestCompare(t *testing.T) {
	when := time.Unix(1700000000, 0)
	file := func(name string) tar.Header { return tar.Header{Name: name, Mode: 0o644, ModTime: when} }
	one := func(headers ...tar.Header) [][]tar.Header { return [][]tar.Header{headers} }
	changed := func(change func(*tar.Header)) [][]tar.Header {
		h := file("a")
		change(&h)
		return one(h)
	}
	for _, test := range []struct {
		rule          string
		first, second compared
		want          []string
	}{
		{"the same", compared{layers: one(file("a"))}, compared{layers: one(file("a"))}, nil},
		{"content", compared{layers: one(file("a"), file("b"))}, compared{layers: one(file("a"), file("b")), content: map[string]string{"b": "c"}}, []string{"layer 1: /b: content"}},
		{"mode", compared{layers: one(file("a"))}, compared{layers: changed(func(h *tar.Header) { h.Mode = 0o755 })}, []string{"layer 1: /a: mode"}},
		{"owner and time", compared{layers: one(file("a"))}, compared{layers: changed(func(h *tar.Header) { h.Uid, h.ModTime = 7, when.Add(time.Hour) })}, []string{"layer 1: /a: owner, time"}},
		{"type and link", compared{layers: one(file("a")), content: map[string]string{"a": ""}}, compared{layers: changed(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "b" })}, []string{"layer 1: /a: type, link"}},
		{"attributes", compared{layers: one(file("a"))}, compared{layers: changed(func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "y"} })}, []string{"layer 1: /a: attributes"}},
		{"order", compared{layers: one(file("a"), file("b"))}, compared{layers: one(file("b"), file("a"))}, []string{"layer 1: order"}},
		{"files of one alone", compared{layers: one(file("a"), file("b"))}, compared{layers: one(file("b"), file("c"))}, []string{"layer 1: /a: only in the first", "layer 1: /c: only in the second"}},
		{"layers of one alone", compared{layers: [][]tar.Header{{file("a")}, {file("b")}}}, compared{layers: one(file("a"))}, []string{"layer 2: only in the first"}},
		{"compression", compared{layers: one(file("aaaaaaaaaaaaaaaaaaaa")), level: 1}, compared{layers: one(file("aaaaaaaaaaaaaaaaaaaa")), level: 9}, []string{"layer 1: compression"}},
		{
			"fields of the config", compared{config: map[string]any{"created": "x", "config": map[string]any{"Env": []string{"A=1"}, "User": "u"}, "rootfs": 1}},
			compared{config: map[string]any{"created": "y", "config": map[string]any{"Env": []string{"A=2"}, "Cmd": "c", "User": "u"}, "rootfs": 2}},
			[]string{"config: config.Env: value", "config: config.Cmd: value", "config: created: value"},
		},
		{"annotations", compared{}, compared{notes: map[string]string{"a": "b"}}, []string{"manifest: annotations: value"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			x, y := manifestlist.BlobDir(t.TempDir()), manifestlist.BlobDir(t.TempDir())
			found, err := contents.Compare(t.Context(), test.first.write(t, x), test.second.write(t, y), x, y)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range found {
				got = append(got, d.String())
			}
			var want []string
			for _, line := range test.want {
				want = append(want, "linux/amd64: "+line)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	t.Run("what is not there", func(t *testing.T) {
		x, y := manifestlist.BlobDir(t.TempDir()), manifestlist.BlobDir(t.TempDir())
		a, b := compared{}.write(t, x), compared{layers: one(file("a"))}.write(t, y)
		if _, err := contents.Compare(t.Context(), a, b, x, x); err == nil {
			t.Error("compared with nothing")
		}
	})
}
