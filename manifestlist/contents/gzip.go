// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// gunzip undoes gzip: one member, or several one after the other, which count as one. Source: RFC 1952.
type gunzip struct {
	*inflater
	inMember bool
	crc      uint32
	size     uint32
}

// The flags of a header, and its size without what they announce.
const (
	gzipHeaderCRC = 1 << 1
	gzipExtra     = 1 << 2
	gzipName      = 1 << 3
	gzipComment   = 1 << 4
	gzipHeader    = 10
	gzipText      = 512 // what compress/gzip takes of a name or comment, and so whoever unpacks layers with it
)

var errGzip = errors.New("its compression is no gzip")

func newGunzip(from io.Reader) *gunzip { return &gunzip{inflater: newInflater(from)} }

// next returns what comes next; what it returned before is lost. io.EOF follows the last, if the checksums are right.
func (g *gunzip) next() ([]byte, error) {
	for {
		if !g.inMember {
			if err := g.header(); err != nil {
				return nil, err
			}
			g.begin()
			g.inMember, g.crc, g.size = true, 0, 0
		}
		piece, err := g.inflater.next()
		if err == nil {
			g.crc = crc32.Update(g.crc, crc32.IEEETable, piece)
			g.size += uint32(len(piece))
			return piece, nil
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		if err := g.trailer(); err != nil {
			return nil, err
		}
		g.inMember = false
	}
}

// header reads the header of a member; io.EOF says that there is none.
func (g *gunzip) header() error {
	if ended, err := g.ended(); ended || err != nil {
		return errors.Join(err, io.EOF)
	}
	head, err := g.append(nil, gzipHeader)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}) {
		return errGzip
	}
	flags := head[3]
	if flags&gzipExtra != 0 {
		if head, err = g.append(head, 2); err == nil {
			head, err = g.append(head, int(binary.LittleEndian.Uint16(head[gzipHeader:])))
		}
	}
	for _, text := range []byte{gzipName, gzipComment} {
		if flags&text != 0 && err == nil {
			head, err = g.appendText(head)
		}
	}
	if flags&gzipHeaderCRC == 0 || err != nil {
		return err
	}
	sum, err := g.take(16)
	if err == nil && sum != uint64(crc32.ChecksumIEEE(head)&0xffff) {
		err = errGzip
	}
	return err
}

// append reads n bytes behind those of head.
func (g *gunzip) append(head []byte, n int) ([]byte, error) {
	for range n {
		b, err := g.take(8)
		if err != nil {
			return head, err
		}
		head = append(head, byte(b))
	}
	return head, nil
}

// appendText reads a text up to the zero that ends it.
func (g *gunzip) appendText(head []byte) ([]byte, error) {
	for range gzipText {
		b, err := g.take(8)
		if err != nil {
			return head, err
		}
		if head = append(head, byte(b)); b == 0 {
			return head, nil
		}
	}
	return head, errGzip
}

// trailer compares what a member says of its content.
func (g *gunzip) trailer() error {
	g.align()
	for _, want := range []uint32{g.crc, g.size} {
		low, err := g.take(16)
		if err != nil {
			return err
		}
		high, err := g.take(16)
		if err != nil {
			return err
		}
		if uint32(low|high<<16) != want {
			return errCorrupt
		}
	}
	return nil
}

// ended reports whether nothing of the input is left.
func (z *inflater) ended() (bool, error) {
	z.align()
	if err := z.fill(); err != nil {
		return false, err
	}
	return z.real >= 0 && z.pos >= z.real, nil
}
