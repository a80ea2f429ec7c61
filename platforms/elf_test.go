// SPDX-License-Identifier: Apache-2.0

package platforms_test

import (
	"encoding/hex"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/platforms"
)

// headers are the first bytes of programs and libraries out there, with the platforms that may hold them.
var headers = []struct {
	name, header string
	platforms    []string
}{
	{"debian 12 i386 busybox-static", "7f454c460101010300000000000000000200030001000000009b040834000000e0761f000000000034002000080028001a001900010000000000000000800408", []string{"386"}},
	{"debian 12 arm64 busybox-static", "7f454c460201010300000000000000000200b700010000008005400000000000400000000000000068261c00000000000000000040003800060040001a001900", []string{"arm64"}},
	{"debian 12 armhf busybox-static", "7f454c4601010103000000000000000002002800010000007187030034000000f09513000004000534002000070028001c001b0001000070c4351300c4351400", []string{"arm/v7", "arm/v6"}},
	{"debian 12 armel busybox-static", "7f454c4601010100000000000000000002002800010000009830010034000000d4451c000002000534002000070028001a00190001000070f8e01b00f8e01c00", []string{"arm/v7", "arm/v6", "arm/v5"}},
	{"debian 12 armel crt1.o", "7f454c4601010100000000000000000001002800010000000000000000000000f00200000000000534000000000028000f000e00040000001000000001000000", []string{"arm/v7", "arm/v6", "arm/v5"}},
	{"go 1.26 arm GOARM=7", "7f454c4601010100000000000000000002002800010000004c38090034000000f40000000200000534002000060028001a001900060000003400000034000100", []string{"arm/v7", "arm/v6", "arm/v5"}},
	{"debian 13 riscv64 busybox-static", "7f454c460201010300000000000000000200f30001000000a0030100000000004000000000000000a89d18000000000005000000400038000800400016001500", []string{"riscv64"}},
	{"debian 12 ppc64el busybox-static", "7f454c4602010103000000000000000002001500010000002c7f1210000000004000000000000000f8262600000000000200000040003800060040001b001a00", []string{"ppc64le"}},
	{"debian 12 ppc64el libicudata.so", "7f454c46020101000000000000000000030015000100000000000000000000004000000000000000f000dd010000000002000000400038000600400015001400", []string{"ppc64le"}},
	{"go 1.26 ppc64", "7f454c4602020100000000000000000000020015000000010000000000088c1000000000000000400000000000000190000000010040003800060040001a0019", []string{"ppc64"}},
	{"debian 12 s390x busybox-static", "7f454c4602020103000000000000000000020016000000010000000001004830000000000000004000000000001f4628000000000040003800060040001a0019", []string{"s390x"}},
	{"go 1.26 loong64", "7f454c460201010000000000000000000200020101000000a0cc080000000000400000000000000090010000000000004300000040003800060040001a001900", []string{"loong64"}},
	{"debian 12 mips64el busybox-static", "7f454c46020101000000000000000000020008000100000090cb002001000000400000000000000038742500000000000700008040003800070040001e001d00", []string{"mips64le"}},
	{"go 1.26 mips64le", "7f454c46020101000000000000000000020008000100000090e70a0000000000400000000000000090010000000000000400002040003800060040001a001900", []string{"mips64le"}},
	{"go 1.26 mips64", "7f454c46020201000000000000000000000200080000000100000000000aea3000000000000000400000000000000190000000040040003800060040001a0019", []string{"mips64"}},
}

func accepting(t *testing.T, header []byte) []platforms.Platform {
	t.Helper()
	file, ok := platforms.ParseELF(header)
	if !ok {
		t.Fatal("not read as an ELF file")
	}
	var out []platforms.Platform
	for _, p := range platforms.Known() {
		row, ok := p.ELF()
		if !ok {
			t.Fatalf("%s is known but has no row", p)
		}
		if row.Accepts(file) {
			out = append(out, p)
		}
	}
	return out
}

func TestELFRowsAgainstRealFiles(t *testing.T) {
	met := map[platforms.Platform]bool{}
	for _, tt := range headers {
		t.Run(tt.name, func(t *testing.T) {
			header, err := hex.DecodeString(tt.header)
			if err != nil {
				t.Fatal(err)
			}
			want, err := platforms.ParseList(tt.platforms)
			if err != nil {
				t.Fatal(err)
			}
			got := accepting(t, header)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			for _, p := range got {
				met[p] = true
			}
		})
	}
	for _, p := range platforms.Known() {
		if !met[p] && p.Architecture != "amd64" {
			t.Errorf("no file for the row of %s", p)
		}
	}
}

func TestELFRowOfThisProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	host := platforms.Host()
	if host.OS != "linux" {
		t.Skip("not a Linux program")
	}
	if got := accepting(t, data[:platforms.HeaderSize]); !slices.Contains(got, host) {
		t.Errorf("host %s, this program is one of %v", host, got)
	}
}

func TestELFOfOtherPlatforms(t *testing.T) {
	arm64, _ := platforms.MustParse("arm64").ELF()
	if row, ok := platforms.MustParse("arm64/v9").ELF(); !ok || row != arm64 {
		t.Errorf("arm64/v9: %v, %v", row, ok)
	}
	v7, _ := platforms.MustParse("arm/v7").ELF()
	if row, ok := platforms.MustParse("arm/v8").ELF(); !ok || row != v7 {
		t.Errorf("arm/v8: %v, %v", row, ok)
	}
	for _, s := range []string{"windows/amd64", "darwin/arm64", "linux/sparc64"} {
		if row, ok := platforms.MustParse(s).ELF(); ok {
			t.Errorf("%s has %v", s, row)
		}
	}
}

func TestParseELFRefuses(t *testing.T) {
	whole, _ := hex.DecodeString(headers[0].header)
	for name, header := range map[string][]byte{
		"nothing": nil, "script": []byte("#!/bin/sh\n# a script that is longer than a header is, by some bytes"),
		"truncated": whole[:51], "magic only": []byte("\x7fELF"),
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := platforms.ParseELF(header); ok {
				t.Errorf("read as %v", got)
			}
		})
	}
}
