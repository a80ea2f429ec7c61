// SPDX-License-Identifier: Apache-2.0

package contents

import "math/bits"

// An entry of a table says what the next bits are. Its lowest 6 bits are how many of them it takes, extra bits included, the 4 from
// bit 8 how many come before the extra bits, and those from bit 16 the literal, or the least length or distance.
const (
	isLiteral = 1 << 31
	isOther   = 1 << 15 // none of the things above: the end, a table, or with none of these bits nothing that may be
	isTable   = 1 << 14 // from bit 16, where it begins; from bit 8, for how many bits it is
	isEnd     = 1 << 13
)

const (
	literalBits  = 11
	literalMask  = 1<<literalBits - 1
	distanceBits = 8
	distanceMask = 1<<distanceBits - 1
	sizeBits     = 7
	longestCode  = 15

	mostLiterals  = 286
	mostDistances = 30
)

// codes are the tables of a block. Behind the entries for the first bits are tables for codes that are longer, each for at least two: a
// complete code has no fewer of them.
type codes struct {
	stored    bool // no codes at all
	isFixed   bool // literals and distances are the fixed ones
	literals  [1<<literalBits + 144<<(longestCode-literalBits)]uint32
	distances [1<<distanceBits + 16<<(longestCode-distanceBits)]uint32
	sizes     [1 << sizeBits]uint32
	lengths   [320]uint8
}

// lengthSymbols are those from 257 on, and distanceSymbols all for distances, each as an entry without its code: the least, and how many extra
// bits are added to it. Source: RFC 1951, 3.2.5. sizeOrder is that of 3.2.7.
var (
	lengthSymbols = [...]uint32{
		3 << 16, 4 << 16, 5 << 16, 6 << 16, 7 << 16, 8 << 16, 9 << 16, 10 << 16,
		11<<16 | 1, 13<<16 | 1, 15<<16 | 1, 17<<16 | 1, 19<<16 | 2, 23<<16 | 2, 27<<16 | 2, 31<<16 | 2,
		35<<16 | 3, 43<<16 | 3, 51<<16 | 3, 59<<16 | 3, 67<<16 | 4, 83<<16 | 4, 99<<16 | 4, 115<<16 | 4,
		131<<16 | 5, 163<<16 | 5, 195<<16 | 5, 227<<16 | 5, 258 << 16,
	}
	distanceSymbols = [...]uint32{
		1 << 16, 2 << 16, 3 << 16, 4 << 16, 5<<16 | 1, 7<<16 | 1, 9<<16 | 2, 13<<16 | 2,
		17<<16 | 3, 25<<16 | 3, 33<<16 | 4, 49<<16 | 4, 65<<16 | 5, 97<<16 | 5, 129<<16 | 6, 193<<16 | 6,
		257<<16 | 7, 385<<16 | 7, 513<<16 | 8, 769<<16 | 8, 1025<<16 | 9, 1537<<16 | 9, 2049<<16 | 10, 3073<<16 | 10,
		4097<<16 | 11, 6145<<16 | 11, 8193<<16 | 12, 12289<<16 | 12, 16385<<16 | 13, 24577<<16 | 13,
	}
	sizeOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

func literalSymbol(i int) uint32 {
	switch {
	case i < 256:
		return isLiteral | uint32(i)<<16
	case i == 256:
		return isOther | isEnd
	case i-257 < len(lengthSymbols):
		return lengthSymbols[i-257]
	}
	return isOther
}

func distanceSymbol(i int) uint32 {
	if i < len(distanceSymbols) {
		return distanceSymbols[i]
	}
	return isOther
}

func sizeSymbol(i int) uint32 { return uint32(i) << 16 }

func (c *codes) fixed() {
	if c.isFixed {
		return
	}
	for i := range 288 {
		switch {
		case i < 144, i >= 280:
			c.lengths[i] = 8
		case i < 256:
			c.lengths[i] = 9
		default:
			c.lengths[i] = 7
		}
	}
	fillTable(c.literals[:], literalBits, c.lengths[:288], literalSymbol)
	for i := range 32 {
		c.lengths[i] = 5
	}
	fillTable(c.distances[:], distanceBits, c.lengths[:32], distanceSymbol)
	c.isFixed = true
}

// readCodes reads the codes of a block that has its own. Source: RFC 1951, 3.2.7.
func (z *inflater) readCodes() error {
	head, err := z.take(14)
	if err != nil {
		return err
	}
	literals, distances, sizes := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if literals > mostLiterals || distances > mostDistances {
		return errCorrupt
	}
	c := &z.codes
	c.isFixed = false
	clear(c.lengths[:len(sizeOrder)])
	for _, i := range sizeOrder[:sizes] {
		size, err := z.take(3)
		if err != nil {
			return err
		}
		c.lengths[i] = uint8(size)
	}
	if !fillTable(c.sizes[:], sizeBits, c.lengths[:len(sizeOrder)], sizeSymbol) {
		return errCorrupt
	}
	lengths := c.lengths[:literals+distances]
	if err := z.readLengths(lengths); err != nil {
		return err
	}
	if !fillTable(c.literals[:], literalBits, lengths[:literals], literalSymbol) ||
		!fillTable(c.distances[:], distanceBits, lengths[literals:], distanceSymbol) {
		return errCorrupt
	}
	return nil
}

func (z *inflater) readLengths(lengths []uint8) error {
	for i := 0; i < len(lengths); {
		next, err := z.peek(sizeBits)
		if err != nil {
			return err
		}
		e := z.codes.sizes[next]
		if e&isOther != 0 {
			return errCorrupt
		}
		if _, err := z.take(uint(e & 63)); err != nil {
			return err
		}
		size := uint8(e >> 16)
		if size < 16 {
			lengths[i] = size
			i++
			continue
		}
		repeat := [...]struct{ bits, least uint }{{2, 3}, {3, 3}, {7, 11}}[size-16]
		more, err := z.take(repeat.bits)
		if err != nil {
			return err
		}
		var value uint8
		if size == 16 {
			if i == 0 {
				return errCorrupt
			}
			value = lengths[i-1]
		}
		n := int(repeat.least) + int(more)
		if i+n > len(lengths) {
			return errCorrupt
		}
		for range n {
			lengths[i] = value
			i++
		}
	}
	return nil
}

// firstCodes returns the first code of each length, and the longest length; ok is false where bits mean two things or, with several
// symbols, nothing. A code of one symbol, or of none, is not whole. Source: RFC 1951, 3.2.2.
func firstCodes(lengths []uint8) (next [longestCode + 1]int, longest int, whole, ok bool) {
	var counts [longestCode + 1]int
	for _, l := range lengths {
		counts[l]++
	}
	code := 0
	for l := 1; l <= longestCode; l++ {
		next[l] = code
		if code += counts[l]; code > 1<<l {
			return next, 0, false, false
		}
		if counts[l] > 0 {
			longest, whole = l, code == 1<<l
		}
		code <<= 1
	}
	return next, longest, whole, whole || longest == 0 || longest == 1 && counts[1] == 1
}

// fillTable makes the table of a code whose symbols have these lengths, 0 for those that are not in it, and reports whether it is one. entryOf
// gives a symbol as an entry without its code.
func fillTable(table []uint32, first int, lengths []uint8, entryOf func(symbol int) uint32) bool {
	next, longest, whole, ok := firstCodes(lengths)
	if !ok {
		return false
	}
	if longest > first || !whole {
		for i := range table[:1<<first] {
			table[i] = isOther
		}
	}
	tables, more := 1<<first, max(0, longest-first)
	for symbol, l := range lengths {
		if l == 0 {
			continue
		}
		length := int(l)
		at := int(bits.Reverse16(uint16(next[length])) >> (16 - length))
		next[length]++
		entry := entryOf(symbol) + uint32(length)
		if entry&isOther == 0 {
			entry |= uint32(length) << 8
		}
		if length <= first {
			for ; at < 1<<first; at += 1 << length {
				table[at] = entry
			}
			continue
		}
		head := &table[at&(1<<first-1)]
		if *head&isTable == 0 {
			*head = isOther | isTable | uint32(tables)<<16 | uint32(more)<<8
			tables += 1 << more
		}
		rest := table[*head>>16&0x7fff:][:1<<more]
		for at >>= first; at < 1<<more; at += 1 << (length - first) {
			rest[at] = entry
		}
	}
	return true
}
