// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contents_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

// The benchmark's image: 60,000 files in 4 layers, 2.1 GB, cut out of this program, so that they compress as programs do.
const (
	bigLayers = 4
	bigFiles  = 15000
	bigFile   = 35000
)

// BenchmarkCheck reads the image with one layer at a time. MB/cpu-s is megabytes of files for each second that a CPU worked, whatever
// else the machine does; packed-MB/cpu-s the same in megabytes of blobs. library-MB/cpu-s is what klauspost/compress and crypto/sha256 take, in the
// same run, for nothing but to uncompress the same layers and hash blobs and files. peak-MB is the most memory that the process had, the making
// of the image included.
func BenchmarkCheck(b *testing.B) {
	for _, how := range []string{"gzip", "zstd", ""} {
		b.Run("layers "+how, func(b *testing.B) {
			l := newLayout(b)
			root := l.big(how)
			raw, err := manifestlist.ReadBlob(b.Context(), l.dir, root)
			must(b, err)
			checker, err := contents.New(contents.Config{Parallel: 1})
			must(b, err)
			b.ResetTimer()
			var bytes, packed int64
			var used, alone float64
			for b.Loop() {
				before := cpuSeconds(b)
				report, err := checker.Check(b.Context(), l.dir, root, raw)
				must(b, err)
				r := report.Images[0]
				if r.Files != bigLayers*bigFiles || len(r.Findings) > 0 || r.Programs == 0 {
					b.Fatalf("got %+v", r)
				}
				b.SetBytes(r.Bytes)
				bytes += r.Bytes
				used += cpuSeconds(b) - before
				b.StopTimer()
				before = cpuSeconds(b)
				packed += l.readAlone(raw, how)
				alone += cpuSeconds(b) - before
				b.StartTimer()
			}
			b.ReportMetric(float64(bytes)/1e6/used, "MB/cpu-s")
			b.ReportMetric(float64(packed)/1e6/used, "packed-MB/cpu-s")
			b.ReportMetric(float64(bytes)/1e6/alone, "library-MB/cpu-s")
			b.ReportMetric(peak(b), "peak-MB")
		})
	}
}

// readAlone uncompresses and hashes the layers of an image, and returns how many bytes they have packed.
func (l layout) readAlone(raw []byte, how string) (packed int64) {
	l.t.Helper()
	var manifest ocispec.Manifest
	must(l.t, json.Unmarshal(raw, &manifest))
	for _, desc := range manifest.Layers {
		packed += desc.Size
		blob, err := l.dir.Open(l.t.Context(), desc)
		must(l.t, err)
		sum, content := sha256.New(), sha256.New()
		in := bufio.NewReaderSize(io.TeeReader(blob, sum), 64<<10)
		var files io.Reader = in
		switch how {
		case "gzip":
			files, err = gzip.NewReader(in)
		case "zstd":
			files, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		}
		must(l.t, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{content}, struct{ io.Reader }{files}, make([]byte, 64<<10))
		must(l.t, err)
		must(l.t, blob.Close())
	}
	return packed
}

// cpuSeconds is how long CPUs have worked for this process.
func cpuSeconds(b *testing.B) float64 {
	var used unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// peak returns the largest resident set of this process in megabytes.
func peak(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	found := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	kilobytes, err := strconv.Atoi(string(found[1]))
	must(b, err)
	return float64(kilobytes) / 1000
}

// big makes the image without holding a layer of it.
func (l layout) big(how string) ocispec.Descriptor {
	l.t.Helper()
	p := platforms.Host().OCI()
	config := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	path, err := os.Executable()
	must(l.t, err)
	source, err := os.Open(path)
	must(l.t, err)
	defer source.Close()
	for i := range bigLayers {
		desc, diffID := l.bigLayer(how, i, source)
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	}
	manifest.Config = l.putJSON(ocispec.MediaTypeImageConfig, config)
	return l.putJSON(ocispec.MediaTypeImageManifest, manifest)
}

func (l layout) bigLayer(how string, n int, source *os.File) (ocispec.Descriptor, digest.Digest) {
	l.t.Helper()
	file, err := os.Create(filepath.Join(l.t.TempDir(), "layer"))
	must(l.t, err)
	defer file.Close()
	blob, content := digest.SHA256.Digester(), digest.SHA256.Digester()
	var packed io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{io.MultiWriter(file, blob.Hash()), io.NopCloser(nil)}
	var compressed io.WriteCloser
	switch how {
	case "gzip":
		compressed = gzip.NewWriter(packed)
	case "zstd":
		compressed, err = zstd.NewWriter(packed, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
		must(l.t, err)
	default:
		compressed = packed
	}
	archive := tar.NewWriter(io.MultiWriter(compressed, content.Hash()))
	elfFile := program{platform: platforms.Host().String()}.bytes(l.t)
	buffer := make([]byte, bigFile)
	for i := range bigFiles {
		if _, err := io.ReadFull(source, buffer); err != nil {
			_, err := source.Seek(0, io.SeekStart)
			must(l.t, err)
		}
		copy(buffer, []byte("no program"))
		if i%10 == 0 {
			copy(buffer, elfFile)
		}
		must(l.t, archive.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/lib/%d/%d/file-%d.so", n, i%100, i), Typeflag: tar.TypeReg, Mode: 0o644, Size: bigFile}))
		_, err = io.Copy(archive, bytes.NewReader(buffer))
		must(l.t, err)
	}
	must(l.t, archive.Close())
	if how != "" {
		must(l.t, compressed.Close())
	}
	info, err := file.Stat()
	must(l.t, err)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: blob.Digest(), Size: info.Size()}
	path, err := l.dir.Path(desc.Digest)
	must(l.t, err)
	must(l.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(l.t, os.Rename(file.Name(), path))
	return desc, content.Digest()
}
