// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
)

// The build attributes of 32-bit ARM are a section before the section table, which alone says where it is. As a stream is read
// forward only, all that could be that section is kept until the table comes.
//
// Source: Addenda to the ABI for the Arm Architecture, "Encoding"
// (https://github.com/ARM-software/abi-aa/blob/main/addenda32/addenda32.rst).
const (
	armAttributes = elf.SectionType(0x70000003) // SHT_ARM_ATTRIBUTES

	attributesVersion = 'A'
	attributesBefore  = 5 // bytes before the vendor's name: the version and a length
	attributesLength  = 512
	mostAttributes    = 64
	tagFile           = 1
	tagCPUArch        = 6
)

var attributesVendor = []byte("aeabi\x00")

// findAttributes reads on to offset and returns the processors of what looks like a section of attributes, by its offset.
func (r *programReader) findAttributes(until int64) (map[int64]uint32, error) {
	found := map[int64]uint32{}
	window := append(r.window[:0], r.head...)
	if r.at != int64(len(r.head)) {
		window = nil
	}
	for {
		start := r.at - int64(len(window))
		for i := 0; len(found) < mostAttributes; {
			next := bytes.Index(window[i:], attributesVendor)
			if next < 0 {
				break
			}
			i += next + len(attributesVendor)
			if section := i - len(attributesVendor) - attributesBefore; section >= 0 {
				if cpus := cpusOf(window[section:], r.header.order); cpus != 0 {
					found[start+int64(section)] = cpus
				}
			}
		}
		if r.at >= until {
			return found, nil
		}
		// What may be cut by the end of this window is seen whole in the next one.
		kept := copy(r.window, window[max(0, len(window)-attributesLength):])
		want := int(min(int64(windowSize-kept), until-r.at))
		n, err := io.ReadFull(r.in, r.window[kept:kept+want])
		r.at += int64(n)
		window = r.window[:kept+n]
		if n == 0 || (err != nil && !errors.Is(err, io.ErrUnexpectedEOF)) {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return found, err
		}
	}
}

// cpusOf returns the bit for Tag_CPU_arch of the attributes at the beginning of raw, 0 if there are none.
func cpusOf(raw []byte, order binary.ByteOrder) uint32 {
	const tags = attributesBefore + 6 // the vendor's name, with its zero
	if len(raw) < tags+5 || raw[0] != attributesVersion || raw[tags] != tagFile {
		return 0
	}
	vendorLength, fileLength := order.Uint32(raw[1:]), order.Uint32(raw[tags+1:])
	if fileLength < 5 || vendorLength < fileLength {
		return 0
	}
	raw = raw[tags+5:]
	return cpuTag(raw[:min(uint32(len(raw)), fileLength-5, attributesLength)])
}

// cpuTag returns the bit for Tag_CPU_arch in a list of tags and values.
func cpuTag(raw []byte) uint32 {
	for len(raw) > 0 {
		tag, n := binary.Uvarint(raw)
		if n <= 0 {
			return 0
		}
		raw = raw[n:]
		// Tags 4, 5 and the odd ones above 32 are strings, 32 is a number and a string, all others are numbers.
		isString := tag == 4 || tag == 5 || (tag > 32 && tag%2 == 1)
		if !isString {
			value, n := binary.Uvarint(raw)
			if n <= 0 {
				return 0
			}
			if tag == tagCPUArch {
				return 1 << min(value, 31)
			}
			raw = raw[n:]
		}
		if isString || tag == 32 {
			_, raw, _ = bytes.Cut(raw, []byte{0})
		}
	}
	return 0
}
