// SPDX-License-Identifier: Apache-2.0

package platforms

import (
	"debug/elf"
	"encoding/binary"
	"math"
)

// ELF is what the header of every ELF file of a platform has in common. A file whose e_flags&FlagsMask differs from Flags
// follows another calling convention; the mask covers only bits that compilers and linkers set alike.
type ELF struct {
	Machine          elf.Machine
	Class            elf.Class
	Data             elf.Data
	FlagsMask, Flags uint32
}

// Bits of e_flags, from binutils' include/elf/{arm,mips,ppc64,riscv,loongarch}.h.
const (
	armEABIMask      = 0xff000000 // EF_ARM_EABIMASK
	armEABI5         = 0x05000000 // EF_ARM_EABI_VER5
	armHardFloat     = 0x00000400 // EF_ARM_ABI_FLOAT_HARD
	ppc64ABIMask     = 0x00000003 // EF_PPC64_ABI
	ppc64ABIv2       = 0x00000002
	riscvFloatMask   = 0x00000006 // EF_RISCV_FLOAT_ABI
	riscvFloatDouble = 0x00000004 // EF_RISCV_FLOAT_ABI_DOUBLE
	loongABIMask     = 0x00000007 // EF_LOONGARCH_ABI_MODIFIER_MASK
	loongDouble      = 0x00000003 // EF_LOONGARCH_ABI_DOUBLE_FLOAT
)

type elfRow struct {
	platform Platform
	elf      ELF
}

// elfTable has the platforms mab knows the programs of, one row each, in the order in which lists of them are printed.
//
// Sources: the processor supplements to the System V ABI and the e_flags above; the machines per GOARCH as Go's linker
// writes them (cmd/link/internal/ld/elf.go).
//   - arm: AAELF32 has the float ABI in the e_flags of executables and shared libraries, but Go and many a static program
//     leave it out, and soft-float programs run on v7. So only this can be told: v5 has no hard float.
//   - ppc64le: the OpenPOWER ELF V2 ABI is the only one for little endian. ppc64 has both (glibc V1, musl V2).
//   - riscv64, loong64: the distributions' and Go's ABI is lp64d.
//   - mips64, mips64le: n64; n32 has class 32.
var elfTable = []elfRow{
	{Platform{"linux", "amd64", ""}, ELF{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0}},
	{Platform{"linux", "amd64", "v2"}, ELF{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0}},
	{Platform{"linux", "amd64", "v3"}, ELF{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0}},
	{Platform{"linux", "amd64", "v4"}, ELF{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0}},
	{Platform{"linux", "386", ""}, ELF{elf.EM_386, elf.ELFCLASS32, elf.ELFDATA2LSB, 0, 0}},
	{Platform{"linux", "arm64", ""}, ELF{elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0}},
	{Platform{"linux", "arm", "v7"}, ELF{elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, armEABIMask, armEABI5}},
	{Platform{"linux", "arm", "v6"}, ELF{elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, armEABIMask, armEABI5}},
	{Platform{"linux", "arm", "v5"}, ELF{elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, armEABIMask | armHardFloat, armEABI5}},
	{Platform{"linux", "riscv64", ""}, ELF{elf.EM_RISCV, elf.ELFCLASS64, elf.ELFDATA2LSB, riscvFloatMask, riscvFloatDouble}},
	{Platform{"linux", "ppc64le", ""}, ELF{elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2LSB, ppc64ABIMask, ppc64ABIv2}},
	{Platform{"linux", "s390x", ""}, ELF{elf.EM_S390, elf.ELFCLASS64, elf.ELFDATA2MSB, 0, 0}},
	{Platform{"linux", "loong64", ""}, ELF{elf.EM_LOONGARCH, elf.ELFCLASS64, elf.ELFDATA2LSB, loongABIMask, loongDouble}},
	{Platform{"linux", "mips64le", ""}, ELF{elf.EM_MIPS, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0}},
	{Platform{"linux", "mips64", ""}, ELF{elf.EM_MIPS, elf.ELFCLASS64, elf.ELFDATA2MSB, 0, 0}},
	{Platform{"linux", "ppc64", ""}, ELF{elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2MSB, 0, 0}},
}

// Known returns the platforms of the ELF table, in its order, which lists of platforms are printed in.
func Known() []Platform {
	out := make([]Platform, len(elfTable))
	for i, row := range elfTable {
		out[i] = row.platform
	}
	return out
}

// ELF returns what the ELF files of p have in common. A variant without a row of its own (arm64/v9) has that of its
// architecture. It returns false for platforms whose programs are not in the table: others than Linux, rare machines.
func (p Platform) ELF() (ELF, bool) {
	var found *ELF
	for i, row := range elfTable {
		if row.platform == p {
			return row.elf, true
		}
		if found == nil && row.platform.OS == p.OS && row.platform.Architecture == p.Architecture {
			found = &elfTable[i].elf
		}
	}
	if found == nil {
		return ELF{}, false
	}
	return *found, true
}

// HeaderSize is how many bytes from the beginning of a file ParseELF wants at most.
const HeaderSize = 64

// ParseELF reads the header of an ELF file from its first HeaderSize bytes; Flags are all of e_flags. It returns false for
// what is no ELF file, or too short to be one.
func ParseELF(header []byte) (ELF, bool) {
	if len(header) < 20 || string(header[:4]) != elf.ELFMAG {
		return ELF{}, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	e := ELF{Class: elf.Class(header[elf.EI_CLASS]), Data: elf.Data(header[elf.EI_DATA]), FlagsMask: math.MaxUint32}
	if e.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	// Elf32_Ehdr has 52 bytes with e_flags at 36, Elf64_Ehdr 64 bytes with e_flags at 48.
	size, at := 52, 36
	if e.Class == elf.ELFCLASS64 {
		size, at = 64, 48
	}
	if len(header) < size {
		return ELF{}, false
	}
	e.Machine = elf.Machine(order.Uint16(header[18:]))
	e.Flags = order.Uint32(header[at:])
	return e, true
}

// Accepts reports whether a file with the given header (from ParseELF) follows platform row e.
func (e ELF) Accepts(file ELF) bool {
	return file.Machine == e.Machine && file.Class == e.Class && file.Data == e.Data && file.Flags&e.FlagsMask == e.Flags
}
