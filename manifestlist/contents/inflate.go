// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"encoding/binary"
	"errors"
	"io"
)

// Sizes in bytes. The buffers of an inflater fit into the second cache of most processors.
const (
	history   = 32 << 10  // how far back a copy may reach
	outSize   = 256 << 10 // of what is put out, the history before it included
	inSize    = 64 << 10
	roundIn   = 16 // what one round of the loop may read
	roundOut  = 258 + 3 + 32
	behindEnd = 2 * roundIn // zeros behind the end of the input, so that a round never has to ask whether it is near
)

var errCorrupt = errors.New("its compression is damaged")

// inflater undoes the compression of gzip. It reads words of 64 bits where the libraries that keep the promises of compress/flate (which
// does not read a byte beyond the end) read bytes, and has no need of more speed than its reader has. The zero value is for reset.
//
// Source of the format: RFC 1951.
type inflater struct {
	from io.Reader
	src  []byte
	pos  int // in src, behind what is in bits
	real int // how much of src is no zeros behind the end; -1 until that is known

	bits  uint64 // the next ones of the input, from the lowest
	count uint   // how many of them count; those above are what comes next, or zeros

	out        []byte
	start, end int // out[start:end] is what copies may reach

	final   bool // no block follows this one
	inBlock bool
	stored  int // bytes to copy of a block that is not compressed
	codes   codes
}

func newInflater(from io.Reader) *inflater {
	return &inflater{from: from, src: make([]byte, 0, inSize+behindEnd), out: make([]byte, outSize), real: -1}
}

// begin makes it ready for a stream at the next byte of the input; what was put out before is out of reach.
func (z *inflater) begin() { z.start, z.final, z.inBlock = z.end, false, false }

// next returns what comes next, at most until the stream ends; then it is io.EOF, and the input is at the byte behind it. What
// it returned before is lost.
func (z *inflater) next() ([]byte, error) {
	if z.end > outSize-history {
		shift := z.end - history
		copy(z.out, z.out[shift:z.end])
		z.end, z.start = history, max(0, z.start-shift)
	}
	from := z.end
	for z.end <= outSize-roundOut {
		if !z.inBlock {
			if z.final {
				break
			}
			if err := z.block(); err != nil {
				return nil, err
			}
		}
		var err error
		if z.codes.stored {
			err = z.copyStored()
		} else {
			err = z.decode()
		}
		if err != nil {
			return nil, err
		}
	}
	if from == z.end {
		return nil, io.EOF
	}
	return z.out[from:z.end], nil
}

// block reads the header of a block.
func (z *inflater) block() error {
	head, err := z.take(3)
	if err != nil {
		return err
	}
	z.final, z.inBlock, z.codes.stored = head&1 != 0, true, false
	switch head >> 1 {
	case 0:
		return z.beginStored()
	case 1:
		z.codes.fixed()
		return nil
	case 2:
		return z.readCodes()
	}
	return errCorrupt
}

func (z *inflater) beginStored() error {
	z.align()
	size, err := z.take(16)
	if err != nil {
		return err
	}
	not, err := z.take(16)
	if err != nil {
		return err
	}
	if size != ^not&0xffff {
		return errCorrupt
	}
	z.align()
	z.stored, z.codes.stored = int(size), true
	return nil
}

func (z *inflater) copyStored() error {
	for z.stored > 0 && z.end <= outSize-roundOut {
		if err := z.fill(); err != nil {
			return err
		}
		have := len(z.src) - z.pos
		if z.real >= 0 {
			have = z.real - z.pos
		}
		if have <= 0 {
			return io.ErrUnexpectedEOF
		}
		n := copy(z.out[z.end:], z.src[z.pos:z.pos+min(have, z.stored)])
		z.end, z.pos, z.stored = z.end+n, z.pos+n, z.stored-n
	}
	z.inBlock = z.stored > 0
	return nil
}

// peek returns the next n bits, at most 16, where zeros stand for those behind the end.
func (z *inflater) peek(n uint) (uint64, error) {
	if z.count < n {
		if err := z.fill(); err != nil {
			return 0, err
		}
		z.bits |= binary.LittleEndian.Uint64(z.src[z.pos:]) << z.count
		z.pos += int((63 - z.count) >> 3)
		z.count |= 56
	}
	return z.bits & (1<<n - 1), nil
}

// take returns the next n bits, at most 16, and goes behind them.
func (z *inflater) take(n uint) (uint64, error) {
	v, err := z.peek(n)
	if err != nil {
		return 0, err
	}
	z.bits >>= n
	z.count -= n
	return v, z.overrun()
}

// overrun reports whether more was read than there is.
func (z *inflater) overrun() error {
	if z.real >= 0 && z.pos-int(z.count>>3) > z.real {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// align goes to the next whole byte, and gives back what was read beyond it.
func (z *inflater) align() {
	z.pos -= int(z.count >> 3)
	z.bits, z.count = 0, 0
}

// fill has enough of the input in src for a round. Bytes that may be given back stay.
func (z *inflater) fill() error {
	if z.pos+roundIn <= len(z.src) {
		return nil
	}
	if z.real >= 0 {
		return io.ErrUnexpectedEOF
	}
	kept := max(0, z.pos-8)
	z.src = z.src[:copy(z.src, z.src[kept:])]
	z.pos -= kept
	for empty := 0; z.pos+roundIn > len(z.src); {
		n, err := z.from.Read(z.src[len(z.src):inSize])
		z.src = z.src[:len(z.src)+n]
		switch {
		case errors.Is(err, io.EOF):
			z.real = len(z.src)
			z.src = z.src[:z.real+behindEnd]
			clear(z.src[z.real:])
		case err != nil:
			return err
		case n > 0:
			empty = 0
		default:
			if empty++; empty > 100 {
				return io.ErrNoProgress
			}
		}
	}
	return nil
}

// decode puts out what a compressed block has, until the block or the room ends.
//
//nolint:gocognit,cyclop,funlen // all time goes by here: calls would take most of it
func (z *inflater) decode() error {
	src, pos, bits, count := z.src, z.pos, z.bits, z.count
	out, end := z.out, z.end
	literals, distances := &z.codes.literals, &z.codes.distances
	for end <= outSize-roundOut {
		if pos+roundIn > len(src) {
			z.pos = pos
			if err := z.fill(); err != nil {
				return err
			}
			src, pos = z.src, z.pos
		}
		bits |= binary.LittleEndian.Uint64(src[pos:]) << (count & 63)
		pos += int((63 - count) >> 3)
		count |= 56
		// Two literals take at most 22 bits out of a table of 11, and what comes then at most 20: no refill is needed for them.
		e := literals[bits&literalMask]
		if e&isLiteral != 0 {
			out[end] = byte(e >> 16)
			end++
			bits >>= e & 63
			count -= uint(e & 63)
			if e = literals[bits&literalMask]; e&isLiteral != 0 {
				out[end] = byte(e >> 16)
				end++
				bits >>= e & 63
				count -= uint(e & 63)
				e = literals[bits&literalMask]
			}
		}
		if e&isOther != 0 {
			if e&isTable != 0 {
				e = literals[uint64(e>>16&0x7fff)+bits>>literalBits&(1<<(e>>8&15)-1)]
			}
			if e&isOther != 0 {
				if e&isEnd == 0 {
					return errCorrupt
				}
				z.pos, z.bits, z.count, z.end, z.inBlock = pos, bits>>(e&63), count-uint(e&63), end, false
				return z.overrun()
			}
		}
		if e&isLiteral != 0 {
			out[end] = byte(e >> 16)
			end++
			bits >>= e & 63
			count -= uint(e & 63)
			continue
		}
		length := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		count -= uint(e & 63)

		bits |= binary.LittleEndian.Uint64(src[pos:]) << (count & 63)
		pos += int((63 - count) >> 3)
		count |= 56
		d := distances[bits&distanceMask]
		if d&isTable != 0 {
			d = distances[uint64(d>>16)+bits>>distanceBits&(1<<(d>>8&15)-1)]
		}
		if d&isOther != 0 {
			return errCorrupt
		}
		distance := int(d>>16) + int(bits&(1<<(d&63)-1)>>(d>>8&15))
		bits >>= d & 63
		count -= uint(d & 63)
		at := end - distance
		if at < z.start {
			return errCorrupt
		}
		if distance >= 8 {
			// Words may write beyond the end, where the next ones write again.
			to := end
			end += length
			for {
				binary.LittleEndian.PutUint64(out[to:], binary.LittleEndian.Uint64(out[at:]))
				if to += 8; to >= end {
					break
				}
				at += 8
			}
			continue
		}
		for until := end + length; end < until; end++ {
			out[end] = out[at]
			at++
		}
	}
	z.pos, z.bits, z.count, z.end = pos, bits, count, end
	return nil
}
