// SPDX-License-Identifier: Apache-2.0

// Package emulation lets a Linux machine run programs of other architectures: it finds QEMU's user-mode emulators, registers
// them with the kernel (binfmt_misc), and tells for each platform whether and how its programs run here.
//
// Its one rule: what runs is found out by running it. A platform counts as runnable when a tiny ELF program of that
// platform ran and ended with the status it was built to end with; names, lists of handlers and CPU flags only
// explain the outcome.
//
// The host stays as it was: handlers are registered in an instance of binfmt_misc that belongs to the caller's own user
// namespace (MountPrivate). Nothing in this package writes to the host's instance unless it is handed that Instance.
package emulation

import (
	"slices"

	"github.com/mab-build/mab/platforms"
)

// Handler says which files one of QEMU's emulators runs: one row of the table.
type Handler struct {
	// Name is the file's name in binfmt_misc, the one QEMU's own script and the distributions use.
	Name string
	// QEMU is the emulator's name for the architecture: qemu-QEMU, qemu-QEMU-static.
	QEMU string
	// Platforms are those whose programs it runs; the first stands for all when it comes to probing.
	Platforms []platforms.Platform
	// Magic and Mask are compared with the first bytes of a file; they are equally long.
	Magic, Mask []byte
}

// handlers is the one table of emulators. Source: QEMU's scripts/qemu-binfmt-conf.sh (7.2), whose magic and
// mask are taken over byte by byte. Little-endian masks let e_type be 2 or 3 (ET_EXEC, ET_DYN) by 0xfe. The mask of
// ppc64le leaves out the second byte of e_machine, as QEMU's does.
var handlers = []Handler{
	handler("x86_64", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00",
		"\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff", "amd64", "amd64/v2", "amd64/v3", "amd64/v4"),
	handler("i386", "\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x03\x00",
		"\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff", "386"),
	handler("aarch64", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
		"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff", "arm64"),
	handler("arm", "\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00",
		"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff", "arm/v7", "arm/v6", "arm/v5"),
	handler("riscv64", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00",
		"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff", "riscv64"),
	handler("ppc64le", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00",
		"\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\x00", "ppc64le"),
	handler("s390x", "\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16",
		"\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff", "s390x"),
	handler("loongarch64", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01",
		"\xff\xff\xff\xff\xff\xff\xff\xfc\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff", "loong64"),
	handler("mips64el", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00",
		"\xff\xff\xff\xff\xff\xff\xff\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff", "mips64le"),
	handler("mips64", "\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08",
		"\xff\xff\xff\xff\xff\xff\xff\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff", "mips64"),
	handler("ppc64", "\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15",
		"\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff", "ppc64"),
}

func handler(qemu, magic, mask string, names ...string) Handler {
	h := Handler{Name: "qemu-" + qemu, QEMU: qemu, Magic: []byte(magic), Mask: []byte(mask)}
	for _, name := range names {
		h.Platforms = append(h.Platforms, platforms.MustParse(name))
	}
	return h
}

// Handlers returns a copy of the table, in its order.
func Handlers() []Handler { return slices.Clone(handlers) }

// HandlerFor returns the row that runs programs of p: the one that names p, else the one of its architecture (arm64/v9). It
// returns false where the table has none.
func HandlerFor(p platforms.Platform) (Handler, bool) {
	for _, h := range handlers {
		if slices.Contains(h.Platforms, p) {
			return h, true
		}
	}
	for _, h := range handlers {
		if h.Platforms[0].OS == p.OS && h.Platforms[0].Architecture == p.Architecture {
			return h, true
		}
	}
	return Handler{}, false
}

// matches reports whether binfmt_misc hands a file that begins with head to an entry of this magic, as load_misc_binary
// compares them.
func matches(head []byte, offset int, magic, mask []byte) bool {
	if len(magic) == 0 || len(head) < offset+len(magic) {
		return false
	}
	for i, b := range head[offset : offset+len(magic)] {
		m := byte(0xff)
		if i < len(mask) {
			m = mask[i]
		}
		if (b^magic[i])&m != 0 {
			return false
		}
	}
	return true
}
