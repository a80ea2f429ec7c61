// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

// opened is blobs, and which layers of them were opened.
type opened struct {
	manifestlist.Blobs
	mu     *sync.Mutex
	layers *[]digest.Digest
}

func (o opened) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.MediaType == ocispec.MediaTypeImageLayer {
		o.mu.Lock()
		*o.layers = append(*o.layers, desc.Digest)
		o.mu.Unlock()
	}
	return o.Blobs.Open(ctx, desc)
}

// checkKept checks root with a cache, and returns the layers that were read for it, in order.
func (l layout) checkKept(cache contents.Cache, root ocispec.Descriptor) (*contents.Report, []digest.Digest) {
	l.t.Helper()
	checker, err := contents.New(contents.Config{Cache: cache})
	must(l.t, err)
	raw, err := manifestlist.ReadBlob(l.t.Context(), l.dir, root)
	must(l.t, err)
	var layers []digest.Digest
	r, err := checker.Check(l.t.Context(), opened{l.dir, &sync.Mutex{}, &layers}, root, raw)
	must(l.t, err)
	slices.Sort(layers)
	return r, layers
}

func TestCache(t *testing.T) {
	file := func(name, platform string) member {
		return member{name: name, content: program{platform: platform, interp: "/lib/ld.so"}.bytes(t)}
	}
	base := []member{
		file("usr/bin/a", "amd64"), file("usr/bin/ab", "arm64"), {name: "usr/lib", link: "../lib", typeflag: '2'}, {name: "usr/bin/c", link: "usr/bin/a", typeflag: '1'},
		{name: "run.sh", content: []byte("#!/usr/bin/env node")}, {name: "etc/.wh.gone"}, {name: "var/.wh..wh..opq"},
	}
	l, dir := newLayout(t), contents.CacheDir{Dir: filepath.Join(t.TempDir(), "kept")}
	first := l.image("arm64", nil, base, []member{file("b", "s390x")})
	whole, layers := l.checkKept(dir, first)
	if len(layers) != 2 || len(whole.Images[0].Findings) != 2 {
		t.Fatalf("read %v, found %+v", layers, whole.Images[0].Findings)
	}
	t.Run("what was read is not read again, and says the same", func(t *testing.T) {
		again, layers := l.checkKept(dir, first)
		if diff := cmp.Diff(whole, again); diff != "" || len(layers) > 0 {
			t.Errorf("read %v; %s", layers, diff)
		}
	})
	t.Run("only what is new is read", func(t *testing.T) {
		next := l.image("arm64", nil, base, []member{file("b", "arm64")})
		r, layers := l.checkKept(dir, next)
		if len(layers) != 1 || len(r.Images[0].Findings) != 1 {
			t.Errorf("read %v, found %+v", layers, r.Images[0].Findings)
		}
	})
	t.Run("what a config says wrongly of a known layer is found", func(t *testing.T) {
		wrong := l.image("arm64", func(c *ocispec.Image) { c.RootFS.DiffIDs[0] = digest.FromString("other") }, base, []member{file("b", "s390x")})
		for range 2 {
			r, layers := l.checkKept(dir, wrong)
			if len(layers) != 1 || len(r.Images[0].Findings) != 1 || r.Images[0].Findings[0].Path != "" {
				t.Errorf("read %v, found %+v", layers, r.Images[0].Findings)
			}
		}
	})
	t.Run("a damaged cache is none", func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(dir.Dir, "*"))
		must(t, err)
		if len(files) != 3 {
			t.Fatalf("there is %v", files)
		}
		for i, path := range files {
			raw, err := os.ReadFile(path)
			must(t, err)
			raw[len(raw)*i/len(files)] ^= 4
			must(t, os.WriteFile(path, raw, 0o600))
		}
		again, layers := l.checkKept(dir, first)
		if diff := cmp.Diff(whole, again); diff != "" || len(layers) != 2 {
			t.Errorf("read %v; %s", layers, diff)
		}
	})
	t.Run("one that cannot be written is none", func(t *testing.T) {
		again, layers := l.checkKept(contents.CacheDir{Dir: "/dev/null/kept"}, first)
		if diff := cmp.Diff(whole, again); diff != "" || len(layers) != 2 {
			t.Errorf("read %v; %s", layers, diff)
		}
	})
}

func TestCacheDirKeepsWhatIsUsed(t *testing.T) {
	dir := contents.CacheDir{Dir: t.TempDir(), Most: 100}
	value := bytes.Repeat([]byte("v"), 30)
	names := func() (out []string) {
		entries, err := os.ReadDir(dir.Dir)
		must(t, err)
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	for i, name := range []string{"a", "b", "c"} {
		dir.Put(name, value)
		then := time.Now().Add(time.Duration(i-10) * time.Minute)
		must(t, os.Chtimes(filepath.Join(dir.Dir, name), then, then))
	}
	if got := dir.Get("a"); !bytes.Equal(got, value) {
		t.Fatalf("got %q", got)
	}
	dir.Put("d", value)
	if diff := cmp.Diff([]string{"a", "c", "d"}, names()); diff != "" {
		t.Error(diff)
	}
	dir.Put("large", bytes.Repeat(value, 4))
	if diff := cmp.Diff([]string{"a", "c", "d"}, names()); diff != "" {
		t.Errorf("what is too large is kept: %s", diff)
	}
}

func TestProgress(t *testing.T) {
	l := newLayout(t)
	file := func(name, platform string) []member {
		return []member{{name: name, content: program{platform: platform, padding: 5000}.bytes(t)}}
	}
	shared := []member{{name: "shared", content: bytes.Repeat([]byte("s"), 10000)}}
	root := l.index(l.image("arm64", nil, shared, file("a", "arm64")), l.image("amd64", nil, shared, file("a", "amd64")))
	var mu sync.Mutex
	last := map[string]string{}
	most := map[platforms.Platform]int64{}
	_, err := l.check(root, contents.Config{Progress: func(p platforms.Platform, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if done >= most[p] {
			most[p], last[p.String()] = done, fmt.Sprint(done == total && total > 0)
		}
	}})
	must(t, err)
	if diff := cmp.Diff(map[string]string{"linux/arm64": "true", "linux/amd64": "true"}, last); diff != "" {
		t.Error(diff)
	}
}

func TestShorten(t *testing.T) {
	r := contents.ImageReport{Warnings: []string{"a", "b", "c"}, Findings: []contents.Finding{{Found: "damage"}, {Path: "/a"}, {Path: "/b"}}}
	same := r
	same.Shorten(3)
	if diff := cmp.Diff(r, same); diff != "" {
		t.Errorf("what is short enough changes: %s", diff)
	}
	r.Shorten(2)
	want := contents.ImageReport{
		Warnings: []string{"a", "b", "1 more warnings"}, Findings: []contents.Finding{{Found: "damage"}, {Path: "/a"}}, MoreFindings: 1,
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	report := contents.Report{Images: []contents.ImageReport{r}}
	if got := fmt.Sprint(report.Err(true), report.Err(false)); got != "checking the contents: 3 things are wrong checking the contents: one thing is wrong" {
		t.Error(got)
	}
}

func FuzzRecall(f *testing.F) {
	dir := contents.CacheDir{Dir: f.TempDir()}
	l := newLayout(f)
	l.checkKept(dir, l.image("arm64", nil, []member{{name: "a/b", content: program{interp: "/lib/ld.so"}.bytes(f)}, {name: "a/c", content: []byte("#!/bin/sh -e")}}))
	files, err := os.ReadDir(dir.Dir)
	must(f, err)
	f.Add(dir.Get(files[0].Name()))
	f.Fuzz(func(t *testing.T, kept []byte) {
		// What has the right sum may still be anything.
		rest := kept[min(len(kept), sha256.Size):]
		sum := sha256.Sum256(rest)
		contents.Recall(append(sum[:], rest...))
		if contents.Recall(append([]byte("x"), kept...)) {
			t.Error("what is damaged is recalled")
		}
	})
}
