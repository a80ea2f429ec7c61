// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/manifestlist"
)

// work is the layers of several images. What images share is read once.
type work struct {
	cfg    Config
	from   manifestlist.Blobs
	layers map[layerKey]*layerResult
}

type layerKey struct {
	blob, content digest.Digest
	size          int64
}

func (s *subject) key(i int) layerKey {
	desc := s.manifest.Layers[i]
	return layerKey{desc.Digest, s.config.RootFS.DiffIDs[i], desc.Size}
}

// layerResult has a layer, or what is wrong with it, or neither: the layer is not distributed with the image.
type layerResult struct {
	layer *layer
	found *Finding
}

// unread is a layer that is still to be read.
type unread struct {
	desc   ocispec.Descriptor
	key    layerKey
	result *layerResult
	of     *subject
}

// read reads the layers of all images.
func (w *work) read(ctx context.Context, subjects []*subject) error {
	var list []unread
	for _, s := range subjects {
		if s != nil {
			list = append(list, w.recall(s)...)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.cfg.Parallel)
	for _, u := range list {
		g.Go(func() error { return w.readLayer(ctx, u) })
	}
	return g.Wait()
}

// recall takes the layers of an image that the cache has, and returns the others.
func (w *work) recall(s *subject) []unread {
	var list []unread
	for i, desc := range s.manifest.Layers {
		key := s.key(i)
		if w.layers[key] != nil {
			continue
		}
		result := &layerResult{}
		w.layers[key] = result
		if w.cfg.Cache != nil {
			if l, err := recall(w.cfg.Cache.Get(key.name())); err == nil {
				result.layer = l
				continue
			}
		}
		list = append(list, unread{desc, key, result, s})
		s.toRead += desc.Size
	}
	return list
}

func (w *work) readLayer(ctx context.Context, u unread) (err error) {
	from := w.from
	if w.cfg.Progress != nil {
		from = observed{from, w.cfg, u.of}
	}
	u.result.layer, err = readLayer(ctx, from, u.desc, u.key.content)
	if err == nil {
		if w.cfg.Cache != nil {
			w.cfg.Cache.Put(u.key.name(), keep(u.result.layer))
		}
		return nil
	}
	if manifestlist.IsMissing(err) && isForeign(u.desc.MediaType) {
		return nil
	}
	refused, err := refuse(u.desc, err)
	if err == nil {
		u.result.found = &refused.Findings[0]
	}
	return err
}

// observed tells of what is read for an image.
type observed struct {
	manifestlist.Blobs
	cfg Config
	of  *subject
}

// Open opens.
func (o observed) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := o.Blobs.Open(ctx, desc)
	if err != nil {
		return nil, err
	}
	return observedBlob{rc, o}, nil
}

// String is what the source is called.
func (o observed) String() string {
	if named, ok := o.Blobs.(fmt.Stringer); ok {
		return named.String()
	}
	return "the blob store"
}

type observedBlob struct {
	io.ReadCloser
	by observed
}

// Read reads.
func (b observedBlob) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	s := b.by.of
	b.by.cfg.Progress(s.platform, s.read.Add(int64(n)), s.toRead)
	return n, err
}

// counting is how far the layers of an image are read, in bytes. What others of the images have in common with it counts here alone.
type counting struct {
	read   atomic.Int64
	toRead int64
}
