// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func writeMembers(t *testing.T, members [][2]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.tar")
	f, err := os.Create(path)
	must(t, err)
	w := tar.NewWriter(f)
	for _, m := range members {
		must(t, w.WriteHeader(&tar.Header{Name: m[0], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(m[1]))}))
		_, err := w.Write([]byte(m[1]))
		must(t, err)
	}
	must(t, errors.Join(w.Close(), f.Close()))
	return path
}

func TestInspectTar(t *testing.T) {
	s := newStage(t)
	idx := s.merged(true, "linux/amd64", "linux/arm64")
	path := filepath.Join(t.TempDir(), "a.tar")
	ref, err := manifestlist.ParseReference("example.com/app:1")
	must(t, err)
	must(t, manifestlist.WriteArchive(t.Context(), idx, s.dir, manifestlist.ArchiveConfig{File: path, Names: []manifestlist.Reference{ref}}))
	client := newClient(t, manifestlist.Config{})
	for _, source := range []string{path, path + ":1", path + ":1@" + idx.Descriptor.Digest.String()} {
		got, err := client.Inspect(t.Context(), source)
		must(t, err)
		if got.Digest != idx.Descriptor.Digest || len(got.Images) != 2 || len(got.Images[0].Attestations) != 1 {
			t.Errorf("%s: got %+v", source, got)
		}
	}
	_, err = client.Inspect(t.Context(), path+":2")
	wantError(t, err, "no such image in it", "example.com/app:1")
}

// TestInspectDockerSave reads what skopeo writes, as docker save did before version 25: without digests, layers uncompressed.
func TestInspectDockerSave(t *testing.T) {
	s := newStage(t)
	idx := s.merged(false, "linux/arm64")
	dir := filepath.Join(t.TempDir(), "layout")
	must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, manifestlist.LayoutConfig{Dir: dir}))
	path := filepath.Join(t.TempDir(), "a.tar")
	skopeo(t, "copy", "--override-arch=arm64", "--override-os=linux", "oci:"+dir, "docker-archive:"+path+":example.com/app:1")
	client := newClient(t, manifestlist.Config{})
	got, err := client.Inspect(t.Context(), path)
	must(t, err)
	if len(got.Images) != 1 || got.Images[0].Platform != parse("linux/arm64")[0] || got.Images[0].Layers != 2 || got.Images[0].Cmd[0] != "linux/arm64" {
		t.Errorf("got %+v", got)
	}
	found, err := client.Find(t.Context(), path+":1")
	if err != nil {
		t.Fatal(err, hintOf(err))
	}
	if found.Root.Digest != got.Digest {
		t.Errorf("got %s, want %s", found.Root.Digest, got.Digest)
	}
	_, err = found.Blobs.Open(t.Context(), ocispec.Descriptor{Digest: idx.Descriptor.Digest})
	if !errors.Is(err, fs.ErrNotExist) || !manifestlist.IsMissing(err) {
		t.Errorf("got %v", err)
	}
}

func TestTarsThatAreNone(t *testing.T) {
	client := newClient(t, manifestlist.Config{})
	for _, test := range []struct {
		rule    string
		members [][2]string
		says    string
		hints   string
	}{
		{"nothing of an image", [][2]string{{"a", "b"}}, `"manifest.json" is not in it`, "index.json (OCI) or a manifest.json"},
		{"an index that is no JSON", [][2]string{{"index.json", "b"}}, "reading index.json", ""},
		{"a list that is no JSON", [][2]string{{"manifest.json", "b"}}, "reading manifest.json", ""},
		{"a config that is not there", [][2]string{{"manifest.json", `[{"Config":"c","Layers":[]}]`}}, `"c" is not in it`, "index.json (OCI) or a manifest.json"},
		{"a layer that is not there", [][2]string{{"manifest.json", `[{"Config":"c","Layers":["l"]}]`}, {"c", "{}"}}, `"l" is not in it`, "index.json (OCI) or a manifest.json"},
		{"no image", [][2]string{{"index.json", `{}`}}, "no such image in it", "it holds: "},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, err := client.Inspect(t.Context(), writeMembers(t, test.members))
			wantError(t, err, test.says, test.hints)
		})
	}
	path := filepath.Join(t.TempDir(), "a.tar.gz")
	must(t, os.WriteFile(path, []byte("\x1f\x8b\x08 no tar, and longer than the header of one member of it is, which has 512 bytes"), 0o644))
	_, err := client.Inspect(t.Context(), path)
	wantError(t, err, "reading it as a tar", "gunzip")
}

func TestEntries(t *testing.T) {
	s := newStage(t)
	root := s.solve(true, "linux/amd64", "linux/arm64")
	images, others, err := manifestlist.Entries(root, s.read(root))
	must(t, err)
	if len(others) != 0 || len(images) != 2 || len(images[1].Attestations) != 1 {
		t.Errorf("got %+v, %+v", images, others)
	}
	if diff := cmp.Diff(parse("linux/amd64", "linux/arm64")[1], images[1].Platform); diff != "" {
		t.Error(diff)
	}
	_, _, err = manifestlist.Entries(ocispec.Descriptor{MediaType: "text/plain"}, nil)
	wantError(t, err, "neither an index nor an image", "")
}
