// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// watched tells of what is read.
type watched struct {
	Blobs
	tell func(id string, done, total int64)
}

var _ Blobs = (*watched)(nil)

// Watch returns the same blobs, and has tell told how many bytes of a blob (id has the beginning of its digest) are read, of how many, from the
// first byte on; one that is read again begins anew. What is as small as a manifest is not told of. tell is called by several goroutines at
// once.
func Watch(from Blobs, tell func(id string, done, total int64)) Blobs { return &watched{from, tell} }

// Open opens.
func (w *watched) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := w.Blobs.Open(ctx, desc)
	if err != nil || desc.Size <= smallBlob {
		return rc, err
	}
	return &watchedBlob{ReadCloser: rc, w: w, desc: desc}, nil
}

// String names what is watched, for messages.
func (w *watched) String() string {
	if named, ok := w.Blobs.(fmt.Stringer); ok {
		return named.String()
	}
	return "the blob store"
}

type watchedBlob struct {
	io.ReadCloser
	w    *watched
	desc ocispec.Descriptor
	done int64
}

// Read reads.
func (b *watchedBlob) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.done += int64(n)
		b.w.tell("layer "+b.desc.Digest.Encoded()[:12], b.done, b.desc.Size)
	}
	return n, err
}
