// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImportStore is the name by which definitions call the OCI store of Solve.Imports and Make.Imports.
const ImportStore = "mab"

// Imports are images that other solvers have made and still hold, for solvers that need them. No layer of them is kept here: what a solver
// asks for flows through, a few megabytes ahead of the asking. It is safe for several builds at once.
type Imports struct {
	mu    sync.Mutex
	blobs map[digest.Digest]*imported
	// idle are streams between two requests of one reader, the one that waited longest first.
	idle []*stream
	err  error

	bytes atomic.Int64
}

// imported is a blob, and who has it.
type imported struct {
	blob
	from []*Made
}

// NewImports returns imports without an image.
func NewImports() *Imports { return &Imports{blobs: map[digest.Digest]*imported{}} }

// Add has what a solver made be found. It stays the caller's, to be closed when nobody fetches from it any more.
func (i *Imports) Add(m *Made) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, b := range m.blobs {
		known := i.blobs[b.Digest]
		if known == nil {
			known = &imported{blob: b}
			i.blobs[b.Digest] = known
		}
		known.from = append(known.from, m)
	}
}

// Err is why something could not be fetched, the first such failure; nil if none was.
func (i *Imports) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}

// Bytes is how much was fetched from the solvers that made it.
func (i *Imports) Bytes() int64 { return i.bytes.Load() }

// fail notes a failure, unless the reader itself gave up.
func (i *Imports) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil {
		i.err = err
	}
	return err
}

// find is a blob by its digest.
func (i *Imports) find(d digest.Digest) (*imported, []*Made, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	b := i.blobs[d]
	if b == nil {
		return nil, nil, fmt.Errorf("%s is no part of this build: %w", d, errdefs.ErrNotFound)
	}
	return b, append([]*Made(nil), b.from...), nil
}

// importStore is Imports as BuildKit reads it. It is not written to.
type importStore struct {
	readOnly
	*Imports
}

// Info tells the size of a blob.
func (s importStore) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	b, _, err := s.find(d)
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: d, Size: b.Size}, nil
}

// ReaderAt opens a blob.
func (s importStore) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	b, from, err := s.find(desc.Digest)
	if err != nil {
		return nil, err
	}
	return &importReader{ctx: ctx, imports: s.Imports, blob: b.blob, from: from}, nil
}

// importReader reads a blob in the order in which it is read from it, at best from its start to its end.
type importReader struct {
	ctx     context.Context //nolint:containedctx // io.ReaderAt has no place for it; a reader is one request of a solver
	imports *Imports
	blob    blob
	from    []*Made

	mu     sync.Mutex
	stream *stream
}

// Size is the size of the blob.
func (r *importReader) Size() int64 { return r.blob.Size }

// ReadAt reads what is at an offset.
func (r *importReader) ReadAt(p []byte, off int64) (int, error) {
	if rest := r.blob.Size - off; rest <= 0 {
		return 0, io.EOF
	} else if int64(len(p)) > rest {
		n, err := r.ReadAt(p[:rest], off)
		return n, cmp.Or(err, io.EOF) // itself: readers compare it
	}
	if r.blob.text != nil {
		return copy(p, r.blob.text[off:]), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	done := 0
	for done < len(p) {
		n, err := r.read(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Close leaves what flows already to who reads on.
func (r *importReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.imports.park(r.stream)
	r.stream = nil
	return nil
}

// read reads some bytes, from whoever has them.
func (r *importReader) read(p []byte, off int64) (int, error) {
	if r.stream != nil && r.stream.at != off {
		r.imports.park(r.stream)
		r.stream = nil
	}
	if r.stream == nil {
		r.stream = r.imports.unpark(r.blob.Digest, off)
	}
	if r.stream != nil {
		n, err := r.stream.read(r.ctx, p)
		if err == nil {
			return n, nil
		}
		r.stream.stop()
		// What was read of a damaged blob cannot be taken back, whoever gives the rest. That a stream ended between two requests says little
		// of what is to be had now.
		if r.stream = nil; r.ctx.Err() != nil || len(r.from) == 0 || errors.Is(err, errDamaged) {
			return 0, r.imports.fail(r.ctx, fmt.Errorf("fetching %s: %w", r.blob.Digest, err))
		}
	}
	return r.open(p, off)
}

// open begins to read from the first that has it.
func (r *importReader) open(p []byte, off int64) (int, error) {
	err := errors.New("the solver that made it does not hold it any more")
	for len(r.from) > 0 {
		maker := r.from[0]
		s := newStream(r.imports, maker, r.blob, off)
		if s == nil {
			err = errors.Join(err, maker.Err())
			r.from = r.from[1:]
			continue
		}
		var n int
		if n, err = s.read(r.ctx, p); err == nil {
			r.stream = s
			return n, nil
		}
		s.stop()
		if r.ctx.Err() != nil || errors.Is(err, errDamaged) {
			break
		}
		r.from = r.from[1:]
	}
	return 0, r.imports.fail(r.ctx, fmt.Errorf("fetching %s: %w", r.blob.Digest, err))
}
