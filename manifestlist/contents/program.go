// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/mab-build/mab/platforms"
)

// program is what a regular file says of itself: an ELF file, or a script that names its interpreter.
type program struct {
	script      bool
	elf         platforms.ELF
	kind        elf.Type
	interpreter string // of PT_INTERP or #!; empty if there is none
	argument    string // the first one of #!
	noCode      bool   // an ELF file whose code is elsewhere: it holds debug information
}

// runs reports whether an ELF file is an executable or a shared object, rather than something that linkers and debuggers read.
func (p *program) runs() bool {
	return !p.script && !p.noCode && (p.kind == elf.ET_EXEC || p.kind == elf.ET_DYN)
}

// Bounds of what is looked at in a file. Kernels take a #! line of 256 bytes and paths of 4096
// (https://man7.org/linux/man-pages/man2/execve.2.html).
const (
	headSize    = 4096
	windowSize  = 64 << 10
	mostHeaders = 1024 // entries of a program or section header table
	longestPath = 4096
)

// programReader reads programs out of streams. It holds the buffers for that, so it reads one at a time.
type programReader struct {
	in     io.Reader
	at     int64 // bytes read from in
	head   []byte
	window []byte
	header elfHeader
}

func newProgramReader() *programReader {
	return &programReader{head: make([]byte, 0, headSize), window: make([]byte, windowSize)}
}

// read tells what the content of a file is; nil is neither an ELF file nor a script. It reads forward only, and as far as it must.
// Headers that make no sense are as absent; an error is that of in.
func (r *programReader) read(in io.Reader) (*program, error) {
	r.in, r.at = in, 0
	n, err := io.ReadFull(in, r.head[:headSize])
	r.head, r.at = r.head[:n], int64(n)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if line, ok := bytes.CutPrefix(r.head, []byte("#!")); ok {
		return readScript(line), nil
	}
	file, ok := platforms.ParseELF(r.head)
	if !ok {
		return nil, nil
	}
	r.header = readHeader(r.head, file)
	p := &program{elf: file, kind: r.header.kind}
	if p.interpreter, err = r.readInterpreter(); err != nil || (p.kind != elf.ET_EXEC && p.kind != elf.ET_DYN) {
		return p, err
	}
	return p, r.readSections(p)
}

func readScript(line []byte) *program {
	line, _, _ = bytes.Cut(line[:min(len(line), 254)], []byte("\n"))
	words := strings.Fields(string(line))
	p := &program{script: true}
	if len(words) > 0 {
		p.interpreter = words[0]
	}
	if len(words) > 1 {
		p.argument = words[1]
	}
	return p
}

// elfHeader is where the tables of an ELF file are. Offsets and sizes come from the file: they may be anything.
type elfHeader struct {
	order                binary.ByteOrder
	wide                 bool // class 64
	kind                 elf.Type
	programs, sections   int64 // offsets of the tables
	programCount         int
	programSize          int
	sectionCount         int
	sectionSize          int
	programMin, sectnMin int // sizes of an entry, by the specification
}

// readHeader takes the header apart, which ParseELF found to be whole. Source: elf(5), Elf32_Ehdr and Elf64_Ehdr.
func readHeader(head []byte, file platforms.ELF) elfHeader {
	h := elfHeader{order: binary.LittleEndian, wide: file.Class == elf.ELFCLASS64, programMin: 32, sectnMin: 40}
	if file.Data == elf.ELFDATA2MSB {
		h.order = binary.BigEndian
	}
	h.kind = elf.Type(h.order.Uint16(head[16:]))
	counts := head[42:]
	if h.wide {
		h.programMin, h.sectnMin = 56, 64
		counts = head[54:]
		h.programs, h.sections = int64(h.order.Uint64(head[32:])), int64(h.order.Uint64(head[40:]))
	} else {
		h.programs, h.sections = int64(h.order.Uint32(head[28:])), int64(h.order.Uint32(head[32:]))
	}
	h.programSize, h.programCount = int(h.order.Uint16(counts)), int(h.order.Uint16(counts[2:]))
	h.sectionSize, h.sectionCount = int(h.order.Uint16(counts[4:])), int(h.order.Uint16(counts[6:]))
	return h
}

// table returns the entries of a header table; none if it cannot be read.
func (r *programReader) table(offset int64, count, size, least int) ([][]byte, error) {
	if count == 0 || count > mostHeaders || size < least || size > 4*least {
		return nil, nil
	}
	raw, err := r.piece(offset, count*size)
	if raw == nil || err != nil {
		return nil, err
	}
	entries := make([][]byte, count)
	for i := range entries {
		entries[i] = raw[i*size : (i+1)*size]
	}
	return entries, nil
}

// readInterpreter returns the path in PT_INTERP. Source: elf(5), Elf32_Phdr and Elf64_Phdr.
func (r *programReader) readInterpreter() (string, error) {
	h := r.header
	entries, err := r.table(h.programs, h.programCount, h.programSize, h.programMin)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if elf.ProgType(h.order.Uint32(e)) != elf.PT_INTERP {
			continue
		}
		offset, size := int64(h.order.Uint32(e[4:])), uint64(h.order.Uint32(e[16:]))
		if h.wide {
			offset, size = int64(h.order.Uint64(e[8:])), h.order.Uint64(e[32:])
		}
		if size > longestPath {
			return "", nil
		}
		raw, err := r.piece(offset, int(size))
		path, _, _ := bytes.Cut(raw, []byte{0})
		return string(path), err
	}
	return "", nil
}

// readSections finds out whether there is code, and for 32-bit ARM which processor it is for. Source: elf(5), Elf32_Shdr and
// Elf64_Shdr.
func (r *programReader) readSections(p *program) error {
	h := r.header
	var attributes map[int64]uint32
	if p.elf.Machine == elf.EM_ARM {
		var err error
		if attributes, err = r.findAttributes(h.sections); err != nil {
			return err
		}
	}
	entries, err := r.table(h.sections, h.sectionCount, h.sectionSize, h.sectnMin)
	if err != nil {
		return err
	}
	code, left := 0, 0
	for _, e := range entries {
		kind, flags, offset := elf.SectionType(h.order.Uint32(e[4:])), uint64(h.order.Uint32(e[8:])), int64(h.order.Uint32(e[16:]))
		if h.wide {
			flags, offset = h.order.Uint64(e[8:]), int64(h.order.Uint64(e[24:]))
		}
		if flags&uint64(elf.SHF_EXECINSTR) != 0 {
			code++
			if kind == elf.SHT_NOBITS {
				left++
			}
		}
		if kind == armAttributes {
			p.elf.CPUs = attributes[offset]
		}
	}
	p.noCode = code > 0 && code == left
	return nil
}

// piece returns size bytes at offset; nil if they are behind what was read, or beyond the end. They are valid until the next call.
func (r *programReader) piece(offset int64, size int) ([]byte, error) {
	head := int64(len(r.head))
	if offset < 0 || size <= 0 || size > mostHeaders*4*64 {
		return nil, nil
	}
	if offset <= head-int64(size) {
		return r.head[offset : offset+int64(size)], nil
	}
	var have []byte
	switch {
	case offset >= r.at:
		if err := r.skip(offset - r.at); err != nil || r.at != offset {
			return nil, err
		}
	case r.at == head && offset < head:
		have = r.head[offset:]
	default:
		return nil, nil
	}
	raw := make([]byte, size)
	n, err := io.ReadFull(r.in, raw[copy(raw, have):])
	r.at += int64(n)
	return complete(raw, err)
}

func (r *programReader) skip(n int64) error {
	n, err := io.CopyN(io.Discard, r.in, n)
	r.at += n
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// complete returns raw if it was read whole. A file that ends early has less in it, which is no error.
func complete(raw []byte, err error) ([]byte, error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil
	}
	return raw, err
}
