// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// LoadConfig says how an image is loaded into an engine.
type LoadConfig struct {
	// Names are the full names that the image gets; none leaves it without a name.
	Names []Reference
	// Progress is told how many bytes of the archive were sent, and then how far the engine is with each layer (id), if it says so.
	// It is called often, by one goroutine at a time. Nil: nobody is.
	Progress func(id string, done, total int64)
}

// Load loads idx into the engine and returns the ID by which the engine knows it. An engine that holds indexes gets all of idx, others
// the image of one platform. Layers that Docker's own image store has already are not sent again; every blob that is sent is
// verified. An engine that refuses is an error with its own words; it then has none of the names.
func (e *Engine) Load(ctx context.Context, idx Index, from Blobs, cfg LoadConfig) (digest.Digest, error) {
	tell := cfg.Progress
	var one sync.Mutex // an engine may answer while it is still sent to
	cfg.Progress = func(id string, done, total int64) {
		if tell == nil {
			return
		}
		one.Lock()
		defer one.Unlock()
		tell(id, done, total)
	}
	id, err := e.load(ctx, idx, from, cfg)
	if err != nil {
		return "", fmt.Errorf("loading the image into %s: %w", e, err)
	}
	return id, nil
}

func (e *Engine) load(ctx context.Context, idx Index, from Blobs, cfg LoadConfig) (digest.Digest, error) {
	if !e.indexes && len(idx.Images) != 1 {
		return "", hintf(fmt.Errorf("it holds one platform of an image, not %d", len(idx.Images)),
			"name one with --platform, or write -o type=oci,dest=FILE, which holds all")
	}
	all, err := reach(ctx, idx, from)
	if err != nil {
		return "", err
	}
	entries, err := archiveEntries(idx, all, ArchiveConfig{Docker: !e.indexes, Names: cfg.Names})
	if err != nil {
		return "", err
	}
	if e.indexes || e.podman {
		id := idx.Descriptor.Digest
		if !e.indexes {
			id = idx.Images[0].Config.Digest
		}
		return id, e.send(ctx, entries, from, cfg)
	}
	return idx.Images[0].Config.Digest, e.sendMissing(ctx, idx.Images[0], entries, from, cfg)
}

// sendMissing leaves out the layers that the engine's own image store has: it looks for those before it opens their files in the
// archive (moby's image/tarexport/load.go). Should one be gone by then, everything is sent.
func (e *Engine) sendMissing(ctx context.Context, image Image, entries []tarEntry, from Blobs, cfg LoadConfig) error {
	var diffs struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	raw, err := ReadBlob(ctx, from, image.Config)
	if err == nil {
		err = json.Unmarshal(raw, &diffs)
	}
	if err != nil {
		return fmt.Errorf("reading the config: %w", err)
	}
	raw, err = ReadBlob(ctx, from, image.Manifest)
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	// Finding out what is there only saves work: what goes wrong with it costs a full load, and no more.
	there, err := e.common(ctx, diffs.RootFS.DiffIDs)
	if err == nil && there > 0 && there <= len(m.Layers) {
		err := e.send(ctx, without(entries, m.Layers, there), from, cfg)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return e.send(ctx, entries, from, cfg)
}

// without leaves out the first n layers, but for those whose bytes a later one shares.
func without(entries []tarEntry, layers []ocispec.Descriptor, n int) []tarEntry {
	needed := map[digest.Digest]bool{}
	for _, l := range layers[n:] {
		needed[l.Digest] = true
	}
	drop := map[digest.Digest]bool{}
	for _, l := range layers[:n] {
		drop[l.Digest] = !needed[l.Digest]
	}
	var out []tarEntry
	for _, entry := range entries {
		if !drop[entry.desc.Digest] {
			out = append(out, entry)
		}
	}
	return out
}

// mostImages bounds how many images an engine is asked about. They come newest first, and the last build is what has most in common.
const mostImages = 100

// common is how many layers, from the lowest on, an image of the engine has in common with these. Docker keeps a layer by the chain
// of all below it.
// Source: https://docs.docker.com/reference/api/engine/version/v1.41/ (ImageList, ImageInspect)
func (e *Engine) common(ctx context.Context, layers []digest.Digest) (int, error) {
	var images []struct{ ID string }
	if err := e.get(ctx, "/images/json", &images); err != nil {
		return 0, err
	}
	best := 0
	for _, image := range images[:min(len(images), mostImages)] {
		var one struct {
			RootFS struct{ Layers []digest.Digest }
		}
		if err := e.get(ctx, "/images/"+image.ID+"/json", &one); err != nil {
			continue // it may be gone in the meantime
		}
		n := 0
		for n < len(layers) && n < len(one.RootFS.Layers) && layers[n] == one.RootFS.Layers[n] {
			n++
		}
		if best = max(best, n); best == len(layers) {
			break
		}
	}
	return best, ctx.Err()
}

// send gives the engine an archive and waits until it is loaded.
// Source: https://docs.docker.com/reference/api/engine/version/v1.41/ (ImageLoad)
func (e *Engine) send(ctx context.Context, entries []tarEntry, from Blobs, cfg LoadConfig) error {
	in, out := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := writeTar(ctx, &meter{out: out, total: tarSize(entries), tell: cfg.Progress}, entries, from)
		out.CloseWithError(err)
		if errors.Is(err, io.ErrClosedPipe) {
			return nil // the engine heard enough, and says why
		}
		return err
	})
	group.Go(func() error {
		resp, err := e.do(ctx, http.MethodPost, e.base+"/images/load", in)
		_ = in.Close()
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return listen(resp.Body, cfg.Progress)
	})
	return group.Wait()
}

// listen reads what the engine says while it loads: JSON values, one of which may be an error. A podman says nothing of progress.
func listen(in io.Reader, tell func(id string, done, total int64)) error {
	for decoder := json.NewDecoder(in); ; {
		var said struct {
			Status, ID, Error string
			ProgressDetail    struct{ Current, Total int64 }
			ErrorDetail       struct{ Message string }
		}
		err := decoder.Decode(&said)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading its answer: %w", err)
		case said.ErrorDetail.Message != "":
			return errors.New(said.ErrorDetail.Message)
		case said.Error != "":
			return errors.New(said.Error)
		case said.ID != "" && said.ProgressDetail.Total > 0:
			tell("loading layer "+said.ID, said.ProgressDetail.Current, said.ProgressDetail.Total)
		}
	}
}

// tarSize is how many bytes writeTar writes: blocks of 512, a header before each entry, and two empty blocks at the end.
func tarSize(entries []tarEntry) int64 {
	const block = 512
	size := int64(2 * block)
	for _, entry := range entries {
		size += block + (entry.desc.Size+block-1)/block*block
	}
	return size
}

// meter tells how much went through.
type meter struct {
	out         io.Writer
	done, total int64
	tell        func(id string, done, total int64)
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.out.Write(p)
	m.done += int64(n)
	m.tell("sending", m.done, m.total)
	return n, err
}
