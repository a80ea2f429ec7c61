// SPDX-License-Identifier: Apache-2.0

package platforms_test

import (
	"debug/elf"
	"testing"

	"github.com/mab-build/mab/platforms"
)

func TestRuns(t *testing.T) {
	row := func(name string, change func(*platforms.ELF)) platforms.ELF {
		e, _ := platforms.MustParse(name).ELF()
		e.CPUs = 0
		if change != nil {
			change(&e)
		}
		return e
	}
	cpu := func(tag int) func(*platforms.ELF) { return func(e *platforms.ELF) { e.CPUs = 1 << tag } }
	for _, test := range []struct {
		rule, platform string
		file           platforms.ELF
		as, is         string // as is empty if the platform does not run it
	}{
		{"its own", "amd64", row("amd64", nil), "amd64", "linux/amd64"},
		{"a variant runs its architecture's", "amd64/v3", row("amd64", nil), "amd64/v3", "linux/amd64"},
		{"386 on amd64", "amd64", row("386", nil), "386", "linux/386"},
		{"386 on a variant of amd64", "amd64/v3", row("386", nil), "386", "linux/386"},
		{"amd64 on 386", "386", row("amd64", nil), "", "linux/amd64"},
		{"arm on arm64", "arm64", row("arm/v7", nil), "", "linux/arm/v5"},
		{"x32 on amd64", "amd64", row("amd64", func(e *platforms.ELF) { e.Class = elf.ELFCLASS32 }), "", "X86_64, 32-bit, little endian"},
		{"n32 on mips64", "mips64", row("mips64", func(e *platforms.ELF) { e.Class = elf.ELFCLASS32 }), "", "MIPS, 32-bit, big endian"},
		{"the other byte order", "ppc64le", row("ppc64", nil), "", "linux/ppc64"},
		{"ELF V1 on ppc64le", "ppc64le", row("ppc64le", func(e *platforms.ELF) { e.Flags = 1 }), "", "PPC64, 64-bit, little endian"},
		{"single float on riscv64", "riscv64", row("riscv64", func(e *platforms.ELF) { e.Flags = 2 }), "", "RISCV, 64-bit, little endian"},
		{"soft float on riscv64, with compressed code", "riscv64", row("riscv64", func(e *platforms.ELF) { e.Flags = 1 }), "", "RISCV, 64-bit, little endian"},
		{"an old ABI of arm", "arm/v5", row("arm/v5", func(e *platforms.ELF) { e.Flags = 2 << 24 }), "", "ARM (EABI 2), 32-bit, little endian"},
		{"v6 on v5", "arm/v5", row("arm/v6", cpu(6)), "", "linux/arm/v6"},
		{"v6 on v6", "arm/v6", row("arm/v6", cpu(6)), "arm/v6", "linux/arm/v6"},
		{"v6KZ on v6", "arm/v6", row("arm/v6", cpu(7)), "arm/v6", "linux/arm/v6"},
		{"Thumb-2 on v6", "arm/v6", row("arm/v6", cpu(8)), "", "linux/arm/v7"},
		{"v7 on v6", "arm/v6", row("arm/v7", cpu(10)), "", "linux/arm/v7"},
		{"v5TE on v7", "arm/v7", row("arm/v5", cpu(4)), "arm/v7", "linux/arm/v5"},
		{"a microcontroller's on v7", "arm/v7", row("arm/v7", cpu(13)), "", "ARM (EABI 5), 32-bit, little endian"},
		{"FreeBSD", "amd64", row("amd64", func(e *platforms.ELF) { e.OSABI = elf.ELFOSABI_FREEBSD }), "", "freebsd/amd64"},
		{"GNU's extensions", "amd64", row("amd64", func(e *platforms.ELF) { e.OSABI = elf.ELFOSABI_LINUX }), "amd64", "linux/amd64"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			as, runs, known := platforms.MustParse(test.platform).Runs(test.file)
			if !known || runs != (test.as != "") || (runs && as != platforms.MustParse(test.as)) {
				t.Errorf("got %s, %v, %v", as, runs, known)
			}
			if got := test.file.String(); got != test.is {
				t.Errorf("it is %q, want %q", got, test.is)
			}
		})
	}
	if _, _, known := platforms.MustParse("linux/sparc64").Runs(row("amd64", nil)); known {
		t.Error("sparc64 is known")
	}
}
