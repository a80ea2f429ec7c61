// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"archive/tar"
	"context"
	"io"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

const (
	largeLayer = 256 << 20
	mostHeap   = 32 << 20
)

// TestMemory: a layer of 256 MB is written into an archive and a layout, and checked, and never more than an eighth of it is in memory.
func TestMemory(t *testing.T) {
	l := newLayout(t)
	from := large{l.dir, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer}}
	sum, n := digest.SHA256.Digester(), new(counted)
	_, err := io.Copy(io.MultiWriter(sum.Hash(), n), from.content())
	must(t, err)
	from.layer.Digest, from.layer.Size = sum.Digest(), int64(*n)
	p := platforms.Host()
	own := p.OCI()
	config := l.putJSON(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: own, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{from.layer.Digest}}})
	desc := l.putJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{from.layer},
	})
	desc.Platform = &own
	idx, err := manifestlist.Merge([]platforms.Platform{p}, []manifestlist.Image{{Platform: p, Manifest: desc}}, manifestlist.MergeOptions{ForceIndex: true})
	must(t, err)
	dir := filepath.Join(t.TempDir(), "layout")
	for what, do := range map[string]func() error{
		"an archive": func() error {
			return manifestlist.WriteArchive(t.Context(), idx, from, manifestlist.ArchiveConfig{Writer: io.Discard})
		},
		"a layout": func() error {
			return manifestlist.WriteLayout(t.Context(), idx, from, manifestlist.LayoutConfig{Dir: dir})
		},
		"a check": func() error {
			checker, err := contents.New(contents.Config{})
			must(t, err)
			report, err := checker.Check(t.Context(), from, idx.Descriptor, idx.Raw)
			if err == nil && (len(report.Findings) > 0 || report.Images[0].Bytes < largeLayer) {
				t.Errorf("got %+v", report)
			}
			return err
		},
	} {
		if peak := heapDuring(t, do); peak > mostHeap {
			t.Errorf("%s: %d MB of the heap in use", what, peak>>20)
		}
	}
}

type counted int64

// Write counts.
func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

// large is a directory of blobs, and a layer that is made when it is read: a tar of one file of zeros.
type large struct {
	manifestlist.BlobDir
	layer ocispec.Descriptor
}

// Open opens.
func (l large) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Digest == l.layer.Digest {
		return l.content(), nil
	}
	return l.BlobDir.Open(ctx, desc)
}

func (l large) content() io.ReadCloser {
	out, in := io.Pipe()
	go func() { // it ends with its reader, which closes it
		w := tar.NewWriter(in)
		err := w.WriteHeader(&tar.Header{Name: "large", Typeflag: tar.TypeReg, Mode: 0o644, Size: largeLayer})
		if err == nil {
			_, err = io.CopyN(w, zeros{}, largeLayer)
		}
		if err == nil {
			err = w.Close()
		}
		_ = in.CloseWithError(err)
	}()
	return out
}

type zeros struct{}

// Read reads zeros.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// heapDuring is the most of the heap that was in use while do ran, beyond what was before.
func heapDuring(t *testing.T, do func() error) uint64 {
	t.Helper()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	before, peak := stats.HeapInuse, uint64(0)
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			peak = max(peak, stats.HeapInuse)
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	err := do()
	close(done)
	looking.Wait()
	must(t, err)
	return peak - min(peak, before)
}
