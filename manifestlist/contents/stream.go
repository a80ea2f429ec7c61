// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"bufio"
	"bytes"
	"errors"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// stream is the content of a layer, hashed piece by piece as it comes. What its reader skips is not copied.
type stream struct {
	more  func() ([]byte, error) // the next piece, which lives until the one after it; io.EOF follows the last
	done  func()                 // to be called at the end
	sum   hash.Hash              // of what has come; nil: nobody wants it
	piece []byte                 // what is left of the last one
	n     int64                  // bytes that have come
	err   error
}

var (
	_            io.ReadSeeker = (*stream)(nil)
	errBackwards               = errors.New("a layer is read forward only")
)

// maxWindow bounds what a zstd layer makes a reader hold: 128 MiB is what zstd --long makes, and readers take by default.
const maxWindow = 128 << 20

// newStream tells compressions by their first bytes, as containerd does, which does not believe media types either.
func newStream(blob io.Reader, sum hash.Hash) (*stream, error) {
	in := bufio.NewReaderSize(blob, windowSize)
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	s := &stream{done: func() {}, sum: sum}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		s.more = pieces(r)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(magic) == 4 && magic[0]&0xf0 == 0x50 && string(magic[1:]) == "\x2a\x4d\x18":
		r, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		s.more, s.done = pieces(r), r.Close
	default:
		s.more = pieces(in)
	}
	return s, nil
}

// fetch has something in piece, or gives what ended it all.
func (s *stream) fetch() error {
	for len(s.piece) == 0 && s.err == nil {
		s.piece, s.err = s.more()
		if s.sum != nil {
			s.sum.Write(s.piece)
		}
		s.n += int64(len(s.piece))
	}
	if len(s.piece) > 0 {
		return nil
	}
	return s.err
}

// Read reads.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.fetch(); err != nil {
		return 0, err
	}
	n := copy(p, s.piece)
	s.piece = s.piece[n:]
	return n, nil
}

// Seek skips, for archive/tar, which skips by it what it is not asked for. At the end it stays there without an error, as in a file.
func (s *stream) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errBackwards
	}
	for offset > 0 {
		if err := s.fetch(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, err
		}
		n := min(offset, int64(len(s.piece)))
		s.piece, offset = s.piece[n:], offset-n
	}
	return s.n - int64(len(s.piece)), nil
}

// pieces cuts what a reader has into pieces.
func pieces(in io.Reader) func() ([]byte, error) {
	buffer := make([]byte, windowSize)
	return func() ([]byte, error) {
		n, err := in.Read(buffer)
		return buffer[:n], err
	}
}
