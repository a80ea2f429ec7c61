// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"github.com/mab-build/mab/platforms"
)

// ProgramStatus is the exit status of the programs that Program returns, ProgramLacks that of those on a CPU that lacks the
// instructions of their platform's variant. They are ones that neither shells nor loaders use, so that nothing else that
// might run in the program's place is mistaken for it.
const (
	ProgramStatus = 42
	ProgramLacks  = 43
)

// Machine code that several rows share. The guards make a missing instruction an exit with ProgramLacks: death by SIGILL would leave
// a core dump or an entry in the host's journal at every probe.
const (
	// mov $60,%eax; mov $42,%edi; syscall
	exitAMD64 = "\xb8\x3c\x00\x00\x00\xbf\x2a\x00\x00\x00\x0f\x05"
	// mov r7,#1; mov r0,#42; svc #0
	exitARM = "\x01\x70\xa0\xe3\x2a\x00\xa0\xe3\x00\x00\x00\xef"
	// rt_sigaction(SIGILL, {handler, SA_RESTORER, 0, 0}, 0, 8), where x86-64 insists on SA_RESTORER:
	//	call 1f; mov $60,%eax; mov $43,%edi; syscall; 1: pop %rax; push $0; push $0; push $0x4000000; push %rax;
	//	mov $13,%eax; mov $4,%edi; mov %rsp,%rsi; xor %edx,%edx; mov $8,%r10d; syscall
	guardAMD64 = "\xe8\x0c\x00\x00\x00\xb8\x3c\x00\x00\x00\xbf\x2b\x00\x00\x00\x0f\x05\x58\x6a\x00\x6a\x00\x68\x00\x00\x00\x04\x50" +
		"\xb8\x0d\x00\x00\x00\xbf\x04\x00\x00\x00\x48\x89\xe6\x31\xd2\x41\xba\x08\x00\x00\x00\x0f\x05"
	// rt_sigaction(SIGILL, {handler, 0, 0, 0}, 0, 8):
	//	b 1f; 0: mov r7,#1; mov r0,#43; svc #0; 1: adr r3,0b; mov r4,#0; mov r5,#0; mov r6,#0; mov r8,#0;
	//	push {r3,r4,r5,r6,r8}; mov r0,#4; mov r1,sp; mov r2,#0; mov r3,#8; mov r7,#174; svc #0
	guardARM = "\x02\x00\x00\xea\x01\x70\xa0\xe3\x2b\x00\xa0\xe3\x00\x00\x00\xef\x14\x30\x4f\xe2\x00\x40\xa0\xe3\x00\x50\xa0\xe3\x00\x60\xa0\xe3" +
		"\x00\x80\xa0\xe3\x78\x01\x2d\xe9\x04\x00\xa0\xe3\x0d\x10\xa0\xe1\x00\x20\xa0\xe3\x08\x30\xa0\xe3\xae\x70\xa0\xe3\x00\x00\x00\xef"
)

// programs are the machine codes of "exit with ProgramStatus", one row per platform; where a variant has instructions of its own
// the code executes some of each extension first. Numbers of the system call exit: the kernel's syscall tables (386, arm, ppc64,
// s390x: 1; amd64: 60; mips64: 5058), asm-generic/unistd.h for the rest (93).
var programs = []program{
	row("amd64", exitAMD64),
	// SSSE3, SSE3, SSE4.1, SSE4.2, POPCNT:
	//	pshufb %xmm0,%xmm0; haddps %xmm0,%xmm0; pmulld %xmm0,%xmm0; pcmpgtq %xmm0,%xmm0; popcnt %eax,%eax
	row("amd64/v2", guardAMD64+
		"\x66\x0f\x38\x00\xc0\xf2\x0f\x7c\xc0\x66\x0f\x38\x40\xc0\x66\x0f\x38\x37\xc0\xf3\x0f\xb8\xc0"+exitAMD64),
	// AVX2, FMA, F16C, BMI1, BMI2, MOVBE:
	//	vpaddd %ymm0,%ymm0,%ymm0; vfmadd231ps %ymm0,%ymm0,%ymm0; vcvtph2ps %xmm0,%ymm0; andn %eax,%eax,%eax;
	//	pdep %eax,%eax,%eax; movbe -8(%rsp),%eax
	row("amd64/v3", guardAMD64+
		"\xc5\xfd\xfe\xc0\xc4\xe2\x7d\xb8\xc0\xc4\xe2\x7d\x13\xc0\xc4\xe2\x78\xf2\xc0\xc4\xe2\x7b\xf5\xc0\x0f\x38\xf0\x44\x24\xf8"+exitAMD64),
	// AVX512 F, BW, DQ, CD, VL:
	//	vpaddd %zmm0,%zmm0,%zmm0; vpaddb %zmm0,%zmm0,%zmm0; vpmullq %zmm0,%zmm0,%zmm0; vpconflictd %zmm0,%zmm0;
	//	vpaddd %xmm16,%xmm16,%xmm16
	row("amd64/v4", guardAMD64+
		"\x62\xf1\x7d\x48\xfe\xc0\x62\xf1\x7d\x48\xfc\xc0\x62\xf2\xfd\x48\x40\xc0\x62\xf2\x7d\x48\xc4\xc0\x62\xa1\x7d\x00\xfe\xc0"+exitAMD64),
	// mov $1,%eax; mov $42,%ebx; int $0x80
	row("386", "\xb8\x01\x00\x00\x00\xbb\x2a\x00\x00\x00\xcd\x80"),
	// mov x8,#93; mov x0,#42; svc #0
	row("arm64", "\xa8\x0b\x80\xd2\x40\x05\x80\xd2\x01\x00\x00\xd4"),
	// movw r7,#1 (v6T2 and up); dmb ish (v7 and up)
	row("arm/v7", guardARM+"\x01\x70\x00\xe3\x5b\xf0\x7f\xf5"+exitARM),
	// rev r1,r0; uxtb r1,r0 (both v6 and up)
	row("arm/v6", guardARM+"\x30\x1f\xbf\xe6\x70\x10\xef\xe6"+exitARM),
	row("arm/v5", exitARM),
	// li a7,93; li a0,42; ecall
	row("riscv64", "\x93\x08\xd0\x05\x13\x05\xa0\x02\x73\x00\x00\x00"),
	// li 0,1; li 3,42; sc
	row("ppc64le", "\x01\x00\x00\x38\x2a\x00\x60\x38\x02\x00\x00\x44"),
	// lghi %r2,42; svc 1
	row("s390x", "\xa7\x29\x00\x2a\x0a\x01"),
	// addi.w $a7,$zero,93; addi.w $a0,$zero,42; syscall 0
	row("loong64", "\x0b\x74\x81\x02\x04\xa8\x80\x02\x00\x00\x2b\x00"),
	// addiu $2,$0,5058; addiu $4,$0,42; syscall
	row("mips64le", "\xc2\x13\x02\x24\x2a\x00\x04\x24\x0c\x00\x00\x00"),
	// addiu $2,$0,5058; addiu $4,$0,42; syscall
	row("mips64", "\x24\x02\x13\xc2\x24\x04\x00\x2a\x00\x00\x00\x0c"),
	// li 0,1; li 3,42; sc
	row("ppc64", "\x38\x00\x00\x01\x38\x60\x00\x2a\x44\x00\x00\x02"),
}

type program struct {
	platform platforms.Platform
	code     []byte
}

func row(name, code string) program { return program{platforms.MustParse(name), []byte(code)} }

// Program returns a static ELF program of platform p, some 200 bytes, that exits with ProgramStatus (or ProgramLacks) and does
// nothing else. A variant without a row (arm64/v9) has the program of its architecture. It returns false for platforms not in the table.
func Program(p platforms.Platform) ([]byte, bool) { return find(programs, p) }

// find makes the program of p, or of its architecture.
func find(table []program, p platforms.Platform) ([]byte, bool) {
	header, ok := p.ELF()
	if !ok {
		return nil, false
	}
	for _, exact := range []bool{true, false} {
		for _, r := range table {
			if r.platform == p || !exact && r.platform.OS == p.OS && r.platform.Architecture == p.Architecture {
				return link(header, r.code), true
			}
		}
	}
	return nil, false
}

// loadAddress is a multiple of the largest page size of any platform (64 KiB) above every default of vm.mmap_min_addr.
const loadAddress = 0x400000

// link makes an executable of one segment, which holds the headers and, last, the code.
func link(e platforms.ELF, code []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	if e.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	flags := e.Flags
	if e.Machine == elf.EM_PPC64 {
		// Without ABI version 2 the entry point would be the address of a function descriptor, for big endian too.
		flags = 2
	}
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(e.Class), byte(e.Data), byte(elf.EV_CURRENT)}
	var out bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&out, order, v); err != nil {
			panic(fmt.Sprintf("%T has no fixed size", v))
		}
	}
	// The second program header says that the stack is not executable: hardened kernels refuse programs that leave it open.
	if e.Class == elf.ELFCLASS32 {
		const headers = 52 + 2*32
		size := uint32(headers + len(code))
		put(elf.Header32{
			Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(e.Machine), Version: 1, Entry: loadAddress + headers,
			Phoff: 52, Flags: flags, Ehsize: 52, Phentsize: 32, Phnum: 2,
		})
		put(elf.Prog32{
			Type: uint32(elf.PT_LOAD), Vaddr: loadAddress, Paddr: loadAddress, Filesz: size, Memsz: size,
			Flags: uint32(elf.PF_R | elf.PF_X), Align: 0x10000,
		})
		put(elf.Prog32{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W)})
	} else {
		const headers = 64 + 2*56
		size := uint64(headers + len(code))
		put(elf.Header64{
			Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(e.Machine), Version: 1, Entry: loadAddress + headers,
			Phoff: 64, Flags: flags, Ehsize: 64, Phentsize: 56, Phnum: 2,
		})
		put(elf.Prog64{
			Type: uint32(elf.PT_LOAD), Vaddr: loadAddress, Paddr: loadAddress, Filesz: size, Memsz: size,
			Flags: uint32(elf.PF_R | elf.PF_X), Align: 0x10000,
		})
		put(elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W)})
	}
	out.Write(code)
	return out.Bytes()
}
