// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"
)

const (
	// ahead is how many bytes of a blob are here before they are asked for: what a link of 40 MB/s and 100 ms holds. BuildKit asks for a
	// megabyte at a time, and waits for it.
	ahead = 4 << 20
	// maxIdle is how many streams wait for their readers to ask again, and idleFor how long: a reader that goes on asks at once.
	maxIdle, idleFor = 16, 30 * time.Second
)

// errDamaged is a blob that is not what its digest says.
var errDamaged = errors.New("the solver gave other bytes")

// stream is a blob that flows from the solver that has it.
type stream struct {
	imports *Imports
	blob    blob
	// at is the offset of what is read next.
	at int64
	// sum is of all that was read, if that began at the start.
	sum hash.Hash

	cancel context.CancelFunc
	room   *semaphore.Weighted
	chunks chan []byte
	// err is why no more chunks come, once chunks is closed.
	err error
	// rest is what was received, but not read.
	rest  []byte
	timer *time.Timer
}

// newStream begins to read a blob from a solver. Nil: that one does not hold it any more. The caller stops or parks it.
func newStream(i *Imports, from *Made, b blob, off int64) *stream {
	s := &stream{imports: i, blob: b, at: off, room: semaphore.NewWeighted(ahead), chunks: make(chan []byte, ahead>>10)}
	if off == 0 && b.Digest.Algorithm().Available() {
		s.sum = b.Digest.Algorithm().Hash()
	}
	started := make(chan context.CancelFunc, 1)
	if !from.hold.reader(func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		started <- cancel
		defer close(s.chunks)
		s.err = from.hold.reason(s.pump(ctx, from.hold.client))
	}) {
		return nil
	}
	s.cancel = <-started
	return s
}

// pump receives the blob, at most so far ahead of who reads it.
func (s *stream) pump(ctx context.Context, c *Client) error {
	// The size is left out: it is to the end.
	in, err := c.bk.ContentClient().Read(ctx, &contentapi.ReadContentRequest{Digest: s.blob.Digest.String(), Offset: s.at})
	if err != nil {
		return errgrpc.ToNative(err)
	}
	for {
		message, err := in.Recv()
		if err != nil {
			return errgrpc.ToNative(err)
		}
		for chunk := range slices.Chunk(message.Data, ahead) {
			if err := s.room.Acquire(ctx, int64(len(chunk))); err != nil {
				return err
			}
			s.imports.bytes.Add(int64(len(chunk)))
			select {
			case s.chunks <- chunk:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// read gives the next bytes, at least one. The last are given only if the whole has the digest.
func (s *stream) read(ctx context.Context, p []byte) (int, error) {
	if len(s.rest) == 0 {
		select {
		case chunk, ok := <-s.chunks:
			switch {
			case !ok && errors.Is(s.err, io.EOF):
				return 0, fmt.Errorf("%d bytes are missing: %w", s.blob.Size-s.at, io.ErrUnexpectedEOF)
			case !ok:
				return 0, s.err
			}
			s.room.Release(int64(len(chunk)))
			s.rest = chunk
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	n := copy(p, s.rest)
	if s.sum != nil {
		_, _ = s.sum.Write(s.rest[:n])
	}
	if s.at+int64(n) > s.blob.Size {
		return 0, fmt.Errorf("%w: more than there are", errDamaged)
	}
	if s.at+int64(n) == s.blob.Size && s.sum != nil && digest.NewDigest(s.blob.Digest.Algorithm(), s.sum) != s.blob.Digest {
		return 0, errDamaged
	}
	s.rest, s.at = s.rest[n:], s.at+int64(n)
	return n, nil
}

// stop ends it.
func (s *stream) stop() { s.cancel() }

// park keeps a stream for the next request: BuildKit reads a blob by many.
func (i *Imports) park(s *stream) {
	if s == nil {
		return
	}
	if s.at == s.blob.Size {
		s.stop()
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.idle) == maxIdle {
		i.idle[0].stop()
		i.idle[0].timer.Stop()
		i.idle = slices.Delete(i.idle, 0, 1)
	}
	s.timer = time.AfterFunc(idleFor, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if at := slices.Index(i.idle, s); at >= 0 {
			s.stop()
			i.idle = slices.Delete(i.idle, at, at+1)
		}
	})
	i.idle = append(i.idle, s)
}

// unpark gives a stream that goes on with a blob at an offset. Nil: there is none.
func (i *Imports) unpark(d digest.Digest, off int64) *stream {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.IndexFunc(i.idle, func(s *stream) bool { return s.blob.Digest == d && s.at == off })
	if at < 0 {
		return nil
	}
	s := i.idle[at]
	s.timer.Stop()
	i.idle = slices.Delete(i.idle, at, at+1)
	return s
}
