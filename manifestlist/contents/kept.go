// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mab-build/mab/platforms"
)

// Cache keeps what was read of layers, so that it need not be read again. It may lose any of it, and is safe for concurrent use.
type Cache interface {
	// Get returns what was put under a name; nil if it is not there.
	Get(name string) []byte
	// Put keeps a value.
	Put(name string, value []byte)
}

// keptFormat is that of what is kept of a layer. It goes up with every change of what readLayer makes of the same bytes.
const keptFormat = 1

// name is what a layer is kept under: it tells all that what was read depends on.
func (k layerKey) name() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s %d", keptFormat, k.blob, k.content, k.size))
	return fmt.Sprintf("%x", sum)
}

// Bits beside the kind of an entry, and of a program.
const (
	keptExecutable = 1 << 7
	keptProgram    = 1 << 6
	keptKind       = keptProgram - 1

	keptScript = 1
	keptNoCode = 2
)

// keep writes a layer as it is kept: a checksum, the size of the tar, and the entries. A path leaves out what it has in common with the
// one before.
func keep(l *layer) []byte {
	out := make([]byte, sha256.Size, sha256.Size+64*len(l.entries)+binary.MaxVarintLen64)
	out = binary.AppendUvarint(out, uint64(l.bytes))
	before := ""
	text := func(s string) { out = append(binary.AppendUvarint(out, uint64(len(s))), s...) }
	for _, e := range l.entries {
		flags := byte(e.kind)
		if e.executable {
			flags |= keptExecutable
		}
		if e.program != nil {
			flags |= keptProgram
		}
		same := common(before, e.path)
		before = e.path
		out = binary.AppendUvarint(append(out, flags), uint64(same))
		text(e.path[same:])
		text(e.link)
		if p := e.program; p != nil {
			flags = 0
			if p.script {
				flags |= keptScript
			}
			if p.noCode {
				flags |= keptNoCode
			}
			out = append(out, flags)
			for _, n := range []uint32{
				uint32(p.elf.Machine), uint32(p.elf.Class), uint32(p.elf.Data), p.elf.FlagsMask, p.elf.Flags, p.elf.CPUs, uint32(p.elf.OSABI), uint32(p.kind),
			} {
				out = binary.AppendUvarint(out, uint64(n))
			}
			text(p.interpreter)
			text(p.argument)
		}
	}
	sum := sha256.Sum256(out[sha256.Size:])
	copy(out, sum[:])
	return out
}

func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// errKept is what was not written by keep.
var errKept = errors.New("not what was kept of a layer")

// recall reads what keep has written. What is damaged is an error.
func recall(kept []byte) (*layer, error) {
	if len(kept) < sha256.Size {
		return nil, errKept
	}
	r := keptReader{rest: kept[sha256.Size:]}
	if sum := sha256.Sum256(r.rest); !bytes.Equal(sum[:], kept[:sha256.Size]) {
		return nil, errKept
	}
	l := &layer{bytes: int64(r.number())}
	before := ""
	for len(r.rest) > 0 && !r.failed {
		var e entry
		flags := r.flags()
		e.kind, e.executable = kind(flags&keptKind), flags&keptExecutable != 0
		same := r.number()
		if same > uint64(len(before)) {
			return nil, errKept
		}
		e.path, e.link = before[:same]+r.text(), ""
		before = e.path
		e.link = r.text()
		if flags&keptProgram != 0 {
			e.program = r.program()
		}
		l.entries = append(l.entries, e)
	}
	if r.failed {
		return nil, errKept
	}
	return l, nil
}

// keptReader takes one value after the other from rest.
type keptReader struct {
	rest   []byte
	failed bool
}

func (r *keptReader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.failed, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *keptReader) flags() byte {
	if len(r.rest) == 0 {
		r.failed = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *keptReader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.failed, r.rest = true, nil
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *keptReader) program() *program {
	flags := r.flags()
	p := &program{script: flags&keptScript != 0, noCode: flags&keptNoCode != 0}
	p.elf = platforms.ELF{
		Machine: elf.Machine(r.number()), Class: elf.Class(r.number()), Data: elf.Data(r.number()), FlagsMask: uint32(r.number()), Flags: uint32(r.number()),
		CPUs: uint32(r.number()), OSABI: elf.OSABI(r.number()),
	}
	p.kind = elf.Type(r.number())
	p.interpreter, p.argument = r.text(), r.text()
	return p
}
