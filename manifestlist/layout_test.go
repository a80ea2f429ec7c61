// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

func names(t *testing.T, list ...string) []manifestlist.Reference {
	t.Helper()
	refs, err := manifestlist.ParseReferences(list)
	must(t, err)
	return refs
}

// tree returns the contents of all files below a directory, and the names of empty directories.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			if len(listing(t, path)) == 0 {
				files[filepath.ToSlash(name)+"/"] = ""
			}
			return nil
		}
		raw, err := os.ReadFile(path)
		files[filepath.ToSlash(name)] = string(raw)
		return err
	}))
	return files
}

func TestWriteLayout(t *testing.T) {
	s := newStage(t)
	idx := s.merged(true, "linux/arm64", "linux/amd64")
	s.put("text/plain", []byte("what the solve left and nobody names"))
	dir := filepath.Join(t.TempDir(), "new", "out")
	must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, manifestlist.LayoutConfig{Dir: dir, Names: names(t, "me/app:v1", "localhost:5000/app:v2")}))

	files := tree(t, dir)
	t.Run("index.json is BuildKit's: an entry for each name", func(t *testing.T) {
		const entry = `{"mediaType":"application/vnd.oci.image.index.v1+json","digest":%q,"size":%d,` +
			`"annotations":{"io.containerd.image.name":%q,"org.opencontainers.image.ref.name":%q}}`
		d := idx.Descriptor
		want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
			fmt.Sprintf(entry, d.Digest, d.Size, "docker.io/me/app:v1", "v1") + "," +
			fmt.Sprintf(entry, d.Digest, d.Size, "localhost:5000/app:v2", "v2") + "]}"
		if diff := cmp.Diff(want, files["index.json"]); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if diff := cmp.Diff(`{"imageLayoutVersion":"1.0.0"}`, files["oci-layout"]); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("it holds what the index reaches, and nothing else", func(t *testing.T) {
		// Index; for each platform manifest, config, two layers, attestation, its config and statement.
		if want := 1 + 2*7 + 2; len(files) != want {
			t.Errorf("%d files, want %d", len(files), want)
		}
		for name, content := range files {
			if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && digest.FromString(content).Encoded() != hex {
				t.Errorf("%s has other content", name)
			}
		}
	})
	t.Run("others read it", func(t *testing.T) {
		raw := skopeo(t, "inspect", "--raw", "oci:"+dir+":v1")
		if diff := cmp.Diff(string(idx.Raw), string(raw)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		skopeo(t, "copy", "--all", "oci:"+dir+":v2", "dir:"+t.TempDir())
	})
	t.Run("linked or copied, it is the same", func(t *testing.T) {
		linked := filepath.Join(filepath.Dir(string(s.dir)), "linked")
		cfg := manifestlist.LayoutConfig{Dir: linked, Names: names(t, "me/app:v1", "localhost:5000/app:v2"), Link: true}
		must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, cfg))
		if diff := cmp.Diff(files, tree(t, linked)); diff != "" {
			t.Errorf("(-copied +linked)\n%s", diff)
		}
		layer := lastLayer(t, s, idx)
		staged, err := s.dir.Path(layer.Digest)
		must(t, err)
		there, err := manifestlist.BlobDir(linked).Path(layer.Digest)
		must(t, err)
		a, err := os.Stat(staged)
		must(t, err)
		b, err := os.Stat(there)
		must(t, err)
		if !os.SameFile(a, b) {
			t.Error("the layer was copied")
		}
	})
	t.Run("without a name it is latest", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "out")
		must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, manifestlist.LayoutConfig{Dir: dir}))
		skopeo(t, "inspect", "--raw", "oci:"+dir+":latest")
	})
}

func TestWriteLayoutAgain(t *testing.T) {
	s := newStage(t)
	both, arm := s.merged(true, "linux/arm64", "linux/amd64"), s.merged(false, "linux/arm64")
	dir := filepath.Join(t.TempDir(), "out")
	write := func(idx manifestlist.Index, list ...string) {
		t.Helper()
		must(t, manifestlist.WriteLayout(t.Context(), idx, s.dir, manifestlist.LayoutConfig{Dir: dir, Names: names(t, list...)}))
	}
	entries := func() []string {
		t.Helper()
		var index ocispec.Index
		must(t, json.Unmarshal([]byte(tree(t, dir)["index.json"]), &index))
		got := []string{index.Annotations["keep"]}
		for _, d := range index.Manifests {
			got = append(got, d.Annotations["io.containerd.image.name"]+" "+d.Digest.Encoded()[:8])
		}
		return got
	}
	id := func(name string, idx manifestlist.Index) string {
		return name + " " + idx.Descriptor.Digest.Encoded()[:8]
	}

	write(both, "a/app:v1", "a/app:v2")
	write(arm, "a/app:v1")
	if diff := cmp.Diff([]string{"", id("docker.io/a/app:v2", both), id("docker.io/a/app:v1", arm)}, entries()); diff != "" {
		t.Errorf("the same name is replaced, others stay (-want +got)\n%s", diff)
	}
	index := filepath.Join(dir, "index.json")
	raw := strings.Replace(tree(t, dir)["index.json"], `"manifests"`, `"annotations":{"keep":"me"},"manifests"`, 1)
	must(t, os.WriteFile(index, []byte(raw), 0o644))
	write(both, "b/app:v1")
	want := []string{"me", id("docker.io/a/app:v2", both), id("docker.io/a/app:v1", arm), id("docker.io/b/app:v1", both)}
	if diff := cmp.Diff(want, entries()); diff != "" {
		t.Errorf("the same tag of another repository is another name (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"blobs", "index.json", "oci-layout"}, listing(t, dir)); diff != "" {
		t.Errorf("no lock or temporary file stays (-want +got)\n%s", diff)
	}
}

func TestWriteLayoutTogether(t *testing.T) {
	s := newStage(t)
	idx := s.merged(false, "linux/arm64", "linux/amd64")
	dir := filepath.Join(t.TempDir(), "out")
	var g errgroup.Group
	for i := range 8 {
		cfg := manifestlist.LayoutConfig{Dir: dir, Names: names(t, fmt.Sprintf("app:v%d", i))}
		g.Go(func() error { return manifestlist.WriteLayout(t.Context(), idx, s.dir, cfg) })
	}
	must(t, g.Wait())
	var index ocispec.Index
	must(t, json.Unmarshal([]byte(tree(t, dir)["index.json"]), &index))
	if len(index.Manifests) != 8 {
		t.Errorf("%d of 8 writers' entries are there", len(index.Manifests))
	}
	if diff := cmp.Diff([]string{"out"}, listing(t, filepath.Dir(dir))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// cancelling ends a context when one digest is opened.
type cancelling struct {
	manifestlist.Blobs
	at     digest.Digest
	cancel context.CancelFunc
}

func (c cancelling) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Digest == c.at {
		c.cancel()
	}
	return c.Blobs.Open(ctx, desc)
}

// lastLayer is a blob that is written after others.
func lastLayer(t *testing.T, s stage, idx manifestlist.Index) ocispec.Descriptor {
	t.Helper()
	var m ocispec.Manifest
	must(t, json.Unmarshal(s.read(idx.Images[len(idx.Images)-1].Manifest), &m))
	return m.Layers[len(m.Layers)-1]
}

func TestWritersLeaveNothingHalf(t *testing.T) {
	s := newStage(t)
	idx := s.merged(true, "linux/arm64", "linux/amd64")
	layer := lastLayer(t, s, idx)
	faults := []struct {
		name  string
		start func() (context.Context, manifestlist.Blobs)
		is    func(error) bool
	}{
		{"a damaged blob", func() (context.Context, manifestlist.Blobs) {
			return t.Context(), swapped{s.dir, layer, "damaged"}
		}, func(err error) bool {
			var wrong *manifestlist.DigestError
			return errors.As(err, &wrong)
		}},
		{"cancellation half-way", func() (context.Context, manifestlist.Blobs) {
			ctx, cancel := context.WithCancel(t.Context())
			return ctx, cancelling{s.dir, layer.Digest, cancel}
		}, func(err error) bool { return errors.Is(err, context.Canceled) }},
	}
	writers := []struct {
		name  string
		write func(ctx context.Context, idx manifestlist.Index, from manifestlist.Blobs, path string) error
	}{
		{"layout", func(ctx context.Context, idx manifestlist.Index, from manifestlist.Blobs, path string) error {
			return manifestlist.WriteLayout(ctx, idx, from, manifestlist.LayoutConfig{Dir: path, Names: names(t, "app:v1")})
		}},
		{"archive", func(ctx context.Context, idx manifestlist.Index, from manifestlist.Blobs, path string) error {
			return manifestlist.WriteArchive(ctx, idx, from, manifestlist.ArchiveConfig{File: path, Names: names(t, "app:v1")})
		}},
	}
	// Only a layout can already hold something that stays: an archive is replaced whole.
	before := s.merged(false, "linux/riscv64", "linux/s390x")
	for _, w := range writers {
		for _, fault := range faults {
			t.Run(w.name+" where nothing was, "+fault.name, func(t *testing.T) {
				dir := t.TempDir()
				ctx, from := fault.start()
				if err := w.write(ctx, idx, from, filepath.Join(dir, "out")); !fault.is(err) {
					t.Fatalf("got %v", err)
				}
				if diff := cmp.Diff([]string{}, listing(t, dir)); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
			t.Run(w.name+" where one was, "+fault.name, func(t *testing.T) {
				dir := t.TempDir()
				out := filepath.Join(dir, "out")
				must(t, w.write(t.Context(), before, s.dir, out))
				want := tree(t, dir)
				ctx, from := fault.start()
				if err := w.write(ctx, idx, from, out); !fault.is(err) {
					t.Fatalf("got %v", err)
				}
				if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		}
	}
	t.Run("layout in an empty directory", func(t *testing.T) {
		dir := t.TempDir()
		ctx, from := faults[0].start()
		if err := writers[0].write(ctx, idx, from, dir); !faults[0].is(err) {
			t.Fatalf("got %v", err)
		}
		if diff := cmp.Diff([]string{}, listing(t, dir)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("a layout whose index.json is no JSON is left alone", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte("x"), 0o644))
		err := writers[0].write(t.Context(), idx, s.dir, dir)
		wantError(t, err, "invalid character", "name another directory")
		if diff := cmp.Diff(map[string]string{"index.json": "x"}, tree(t, dir)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}
