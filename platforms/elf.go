// SPDX-License-Identifier: Apache-2.0

package platforms

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// ELF is what the header of every ELF file of a platform has in common. A file whose e_flags&FlagsMask differs from Flags
// follows another calling convention; the mask covers only bits that compilers and linkers set alike.
type ELF struct {
	Machine          elf.Machine
	Class            elf.Class
	Data             elf.Data
	FlagsMask, Flags uint32
	// CPUs are the versions of the processor that a platform has, or that a file is made for: a bit for each value of ARM's
	// Tag_CPU_arch. 0: nothing is known, or asked for.
	CPUs uint32
	// OSABI is the system that a file says to be for. Files for Linux mostly say none.
	OSABI elf.OSABI
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

// Values of Tag_CPU_arch, as bits: those of the application profile, up to and including a version. ARM1136 and ARM1176, which
// are what arm/v6 means, lack Thumb-2 (v6T2). Source: Addenda to the ABI for the Arm Architecture, "The target-related attributes"
// (https://github.com/ARM-software/abi-aa/blob/main/addenda32/addenda32.rst).
const (
	armCPUv5 = 1<<6 - 1                      // pre-v4 to v5TEJ
	armCPUv6 = armCPUv5 | 1<<6 | 1<<7 | 1<<9 // v6, v6KZ, v6K
	armCPUv7 = armCPUv6 | 1<<8 | 1<<10       // v6T2, v7
)

// elfRow is a platform with its header, and the platform whose programs each of its machines runs as well, if any.
type elfRow struct {
	platform Platform
	elf      ELF
	also     Platform
}

// Machines of amd64 run 386 programs: kernels of distributions have CONFIG_IA32_EMULATION.
var linux386 = Platform{"linux", "386", ""}

// elfTable has the platforms mab knows the programs of, one row each, in the order in which lists of them are printed.
//
// Sources: the processor supplements to the System V ABI and the e_flags above; the machines per GOARCH as Go's linker
// writes them (cmd/link/internal/ld/elf.go).
//   - arm: AAELF32 has the float ABI in the e_flags of executables and shared libraries, but Go and many a static program
//     leave it out, and soft-float programs run on v7. So only this can be told: v5 has no hard float.
//   - ppc64le: the OpenPOWER ELF V2 ABI is the only one for little endian. ppc64 has both (glibc V1, musl V2).
//   - riscv64, loong64: the distributions' and Go's ABI is lp64d.
//   - mips64, mips64le: n64; n32 has class 32.
//   - amd64: x32 has class 32, and distributions' kernels have it switched off.
var elfTable = []elfRow{
	{Platform{"linux", "amd64", ""}, ELF{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0, 0, 0}, linux386},
	{Platform{"linux", "amd64", "v2"}, ELF{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0, 0, 0}, linux386},
	{Platform{"linux", "amd64", "v3"}, ELF{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0, 0, 0}, linux386},
	{Platform{"linux", "amd64", "v4"}, ELF{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0, 0, 0}, linux386},
	{Platform{"linux", "386", ""}, ELF{elf.EM_386, elf.ELFCLASS32, elf.ELFDATA2LSB, 0, 0, 0, 0}, Platform{}},
	{Platform{"linux", "arm64", ""}, ELF{elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0, 0, 0}, Platform{}},
	{Platform{"linux", "arm", "v7"}, ELF{elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, armEABIMask, armEABI5, armCPUv7, 0}, Platform{}},
	{Platform{"linux", "arm", "v6"}, ELF{elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, armEABIMask, armEABI5, armCPUv6, 0}, Platform{}},
	{Platform{"linux", "arm", "v5"}, ELF{elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, armEABIMask | armHardFloat, armEABI5, armCPUv5, 0}, Platform{}},
	{Platform{"linux", "riscv64", ""}, ELF{elf.EM_RISCV, elf.ELFCLASS64, elf.ELFDATA2LSB, riscvFloatMask, riscvFloatDouble, 0, 0}, Platform{}},
	{Platform{"linux", "ppc64le", ""}, ELF{elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2LSB, ppc64ABIMask, ppc64ABIv2, 0, 0}, Platform{}},
	{Platform{"linux", "s390x", ""}, ELF{elf.EM_S390, elf.ELFCLASS64, elf.ELFDATA2MSB, 0, 0, 0, 0}, Platform{}},
	{Platform{"linux", "loong64", ""}, ELF{elf.EM_LOONGARCH, elf.ELFCLASS64, elf.ELFDATA2LSB, loongABIMask, loongDouble, 0, 0}, Platform{}},
	{Platform{"linux", "mips64le", ""}, ELF{elf.EM_MIPS, elf.ELFCLASS64, elf.ELFDATA2LSB, 0, 0, 0, 0}, Platform{}},
	{Platform{"linux", "mips64", ""}, ELF{elf.EM_MIPS, elf.ELFCLASS64, elf.ELFDATA2MSB, 0, 0, 0, 0}, Platform{}},
	{Platform{"linux", "ppc64", ""}, ELF{elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2MSB, 0, 0, 0, 0}, Platform{}},
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
	e.Machine, e.OSABI = elf.Machine(order.Uint16(header[18:])), elf.OSABI(header[elf.EI_OSABI])
	e.Flags = order.Uint32(header[at:])
	return e, true
}

// otherSystems are the values of EI_OSABI by which files say to be for another system than Linux.
var otherSystems = map[elf.OSABI]string{
	elf.ELFOSABI_HPUX: "hpux", elf.ELFOSABI_NETBSD: "netbsd", elf.ELFOSABI_SOLARIS: "solaris", elf.ELFOSABI_AIX: "aix",
	elf.ELFOSABI_IRIX: "irix", elf.ELFOSABI_FREEBSD: "freebsd", elf.ELFOSABI_TRU64: "tru64", elf.ELFOSABI_OPENBSD: "openbsd",
}

// Accepts reports whether a file with the given header (from ParseELF) follows platform row e.
func (e ELF) Accepts(file ELF) bool {
	return otherSystems[file.OSABI] == "" && e.sameMachine(file)
}

func (e ELF) sameMachine(file ELF) bool {
	return file.Machine == e.Machine && file.Class == e.Class && file.Data == e.Data && file.Flags&e.FlagsMask == e.Flags &&
		(file.CPUs == 0 || e.CPUs == 0 || file.CPUs&e.CPUs != 0)
}

// Runs reports whether machines of p run files with the given header, and as which platform: p itself, or one whose programs
// all of them run as well (386 on amd64). known is false if the table has no row for p: then nothing can be said.
func (p Platform) Runs(file ELF) (as Platform, runs, known bool) {
	row, known := p.ELF()
	if !known {
		return Platform{}, false, false
	}
	if row.Accepts(file) {
		return p, true, true
	}
	for _, r := range elfTable {
		if r.platform.OS == p.OS && r.platform.Architecture == p.Architecture && r.also != (Platform{}) {
			also, _ := r.also.ELF()
			return r.also, also.Accepts(file), true
		}
	}
	return Platform{}, false, true
}

// String names the lowest platform of the table that has such files ("linux/arm/v6"), else machine, class and byte order.
func (e ELF) String() string {
	var lowest Platform
	for _, row := range elfTable {
		if row.elf.sameMachine(e) && (lowest == Platform{} || lowest.Covers(row.platform)) {
			lowest = row.platform
		}
	}
	if system := otherSystems[e.OSABI]; system != "" && lowest != (Platform{}) {
		lowest.OS = system
	}
	if lowest != (Platform{}) {
		return lowest.String()
	}
	bits, order := "64-bit", "little endian"
	if e.Class == elf.ELFCLASS32 {
		bits = "32-bit"
	}
	if e.Data == elf.ELFDATA2MSB {
		order = "big endian"
	}
	machine := strings.TrimPrefix(e.Machine.String(), "EM_")
	if e.Machine == elf.EM_ARM {
		machine = fmt.Sprintf("%s (EABI %d)", machine, e.Flags>>24)
	}
	return fmt.Sprintf("%s, %s, %s", machine, bits, order)
}
