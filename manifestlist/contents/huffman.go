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

// The symbols, each as an entry without its code. Source: RFC 1951, 3.2.5 and 3.2.7.
var (
	literalSymbols  = literalTable()
	distanceSymbols = distanceTable()
	sizeSymbols     = sizeTable()
	sizeOrder       = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

func literalTable() (t [288]uint32) {
	for i := range 256 {
		t[i] = isLiteral | uint32(i)<<16
	}
	t[256] = isOther | isEnd
	base := uint32(3)
	for i := range uint32(28) {
		extra := max(1, i/4) - 1
		t[257+i] = base<<16 | extra
		base += 1 << extra
	}
	t[285] = 258 << 16
	t[286], t[287] = isOther, isOther
	return t
}

func distanceTable() (t [32]uint32) {
	base := uint32(1)
	for i := range uint32(mostDistances) {
		extra := max(1, i/2) - 1
		t[i] = base<<16 | extra
		base += 1 << extra
	}
	t[30], t[31] = isOther, isOther
	return t
}

func sizeTable() (t [19]uint32) {
	for i := range t {
		t[i] = uint32(i) << 16
	}
	return t
}

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
	fillTable(c.literals[:], literalBits, c.lengths[:288], literalSymbols[:])
	for i := range 32 {
		c.lengths[i] = 5
	}
	fillTable(c.distances[:], distanceBits, c.lengths[:32], distanceSymbols[:])
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
	if !fillTable(c.sizes[:], sizeBits, c.lengths[:len(sizeOrder)], sizeSymbols[:]) {
		return errCorrupt
	}
	lengths := c.lengths[:literals+distances]
	if err := z.readLengths(lengths); err != nil {
		return err
	}
	if !fillTable(c.literals[:], literalBits, lengths[:literals], literalSymbols[:]) ||
		!fillTable(c.distances[:], distanceBits, lengths[literals:], distanceSymbols[:]) {
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

// fillTable makes the table of a code whose symbols have these lengths, 0 for those that are not in it, and reports whether it is one.
func fillTable(table []uint32, first int, lengths []uint8, symbols []uint32) bool {
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
		entry := symbols[symbol] + uint32(length)
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
