// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// untar reads an archive's headers, and the contents of its files.
func untar(t *testing.T, r io.Reader) ([]*tar.Header, map[string]string) {
	t.Helper()
	var headers []*tar.Header
	contents := map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		must(t, err)
		raw, err := io.ReadAll(tr)
		must(t, err)
		headers = append(headers, h)
		contents[h.Name] = string(raw)
	}
}

func TestWriteArchive(t *testing.T) {
	s := newStage(t)
	idx := s.merged(true, "linux/arm64", "linux/amd64")
	cfg := manifestlist.ArchiveConfig{File: filepath.Join(t.TempDir(), "out.tar"), Names: names(t, "me/app:v1")}
	must(t, manifestlist.WriteArchive(t.Context(), idx, s.dir, cfg))
	file, err := os.ReadFile(cfg.File)
	must(t, err)

	t.Run("it is sorted, and has neither times nor owners", func(t *testing.T) {
		headers, _ := untar(t, bytes.NewReader(file))
		var list []string
		for _, h := range headers {
			list = append(list, h.Name)
			if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
				t.Errorf("%s: %+v", h.Name, h)
			}
		}
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("got %q", list)
		}
	})
	t.Run("a stream gets the same bytes as a file", func(t *testing.T) {
		var stream bytes.Buffer
		must(t, manifestlist.WriteArchive(t.Context(), idx, s.dir, manifestlist.ArchiveConfig{Writer: &stream, Names: cfg.Names}))
		if !bytes.Equal(file, stream.Bytes()) {
			t.Error("they differ")
		}
	})
	t.Run("it holds what the layout holds", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "out")
		must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, manifestlist.LayoutConfig{Dir: dir, Names: cfg.Names}))
		_, got := untar(t, bytes.NewReader(file))
		delete(got, "blobs/")
		delete(got, "blobs/sha256/")
		if diff := cmp.Diff(tree(t, dir), got); diff != "" {
			t.Errorf("(-layout +archive)\n%s", diff)
		}
	})
	t.Run("others read it", func(t *testing.T) {
		raw := skopeo(t, "inspect", "--raw", "oci-archive:"+cfg.File+":v1")
		if diff := cmp.Diff(string(idx.Raw), string(raw)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		skopeo(t, "copy", "--all", "oci-archive:"+cfg.File, "dir:"+t.TempDir())
	})
	t.Run("without a name it has one entry", func(t *testing.T) {
		var stream bytes.Buffer
		must(t, manifestlist.WriteArchive(t.Context(), idx, s.dir, manifestlist.ArchiveConfig{Writer: &stream}))
		_, got := untar(t, &stream)
		var index ocispec.Index
		must(t, json.Unmarshal([]byte(got["index.json"]), &index))
		if diff := cmp.Diff([]ocispec.Descriptor{idx.Descriptor}, index.Manifests); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("a link to a file stays a link", func(t *testing.T) {
		dir := t.TempDir()
		target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
		must(t, os.WriteFile(target, []byte("old"), 0o644))
		if err := os.Symlink(target, link); err != nil {
			t.Skip(err)
		}
		must(t, manifestlist.WriteArchive(t.Context(), idx, s.dir, manifestlist.ArchiveConfig{File: link, Names: cfg.Names}))
		got, err := os.ReadFile(target)
		must(t, err)
		if !bytes.Equal(file, got) {
			t.Error("the file behind the link is another")
		}
	})
}

func TestWriteDockerArchive(t *testing.T) {
	s := newStage(t)
	sole := func(docker bool) manifestlist.Index {
		images, err := manifestlist.ReadImages(t.Context(), s.dir, s.image("linux/arm64", docker))
		must(t, err)
		idx, err := manifestlist.Merge(parse("linux/arm64"), images, manifestlist.MergeOptions{})
		must(t, err)
		return idx
	}
	tests := []struct {
		name string
		idx  manifestlist.Index
	}{
		{"docker's types", sole(true)},
		{"OCI types", sole(false)},
		{"one image with attestations", s.merged(true, "linux/arm64")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "out.tar")
			cfg := manifestlist.ArchiveConfig{File: file, Docker: true, Names: names(t, "app", "ghcr.io/me/app:v1")}
			must(t, manifestlist.WriteArchive(t.Context(), tt.idx, s.dir, cfg))
			f, err := os.Open(file)
			must(t, err)
			defer f.Close()
			_, contents := untar(t, f)

			var m ocispec.Manifest
			must(t, json.Unmarshal(s.read(tt.idx.Images[0].Manifest), &m))
			path := func(d ocispec.Descriptor) string { return "blobs/sha256/" + d.Digest.Encoded() }
			want := []map[string]any{{
				"Config": path(m.Config), "RepoTags": []any{"app:latest", "ghcr.io/me/app:v1"},
				"Layers": []any{path(m.Layers[0]), path(m.Layers[1])},
			}}
			var got []map[string]any
			must(t, json.Unmarshal([]byte(contents["manifest.json"]), &got))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}

			var inspected struct{ Os, Architecture string }
			must(t, json.Unmarshal(skopeo(t, "inspect", "docker-archive:"+file+":app:latest"), &inspected))
			if inspected.Os != "linux" || inspected.Architecture != "arm64" {
				t.Errorf("skopeo reads %+v", inspected)
			}
			skopeo(t, "copy", "docker-archive:"+file+":ghcr.io/me/app:v1", "dir:"+t.TempDir())
		})
	}
	t.Run("several platforms are refused, and nothing is written", func(t *testing.T) {
		dir := t.TempDir()
		idx := s.merged(false, "linux/arm64", "linux/amd64")
		err := manifestlist.WriteArchive(t.Context(), idx, s.dir, manifestlist.ArchiveConfig{File: filepath.Join(dir, "out.tar"), Docker: true})
		wantError(t, err, "holds one platform, not 2", "type=oci")
		if diff := cmp.Diff([]string{}, listing(t, dir)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}
