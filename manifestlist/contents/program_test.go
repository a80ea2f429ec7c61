// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

func TestReadProgram(t *testing.T) {
	arm, _ := platforms.MustParse("arm/v7").ELF()
	for _, test := range []struct {
		rule   string
		file   []byte
		ok     bool
		interp string
		arg    string
		cpus   uint32
		runs   bool
	}{
		{"a static program", program{}.bytes(t), true, "", "", 0, true},
		{"a dynamic program", program{interp: "/lib64/ld.so"}.bytes(t), true, "/lib64/ld.so", "", 0, true},
		{"a loader named far from the beginning", program{interp: "/lib64/ld.so", padding: 300_000}.bytes(t), true, "/lib64/ld.so", "", 0, true},
		{"a loader named across the end of the first piece", program{interp: "/lib64/ld.so", padding: 4096 - 64 - 56 - 4}.bytes(t), true, "/lib64/ld.so", "", 0, true},
		{"big endian", program{platform: "s390x", interp: "/lib/ld64.so.1"}.bytes(t), true, "/lib/ld64.so.1", "", 0, true},
		{"32 bits", program{platform: "386", interp: "/lib/ld-linux.so.2"}.bytes(t), true, "/lib/ld-linux.so.2", "", 0, true},
		{"the processor of 32-bit ARM", program{row: arm, cpu: 10}.bytes(t), true, "", "", 1 << 10, true},
		{"attributes across the end of a piece", program{row: arm, cpu: 6, padding: 64<<10 - 100}.bytes(t), true, "", "", 1 << 6, true},
		{"attributes far away", program{row: arm, cpu: 7, padding: 1 << 20}.bytes(t), true, "", "", 1 << 7, true},
		{"attributes of another machine", program{cpu: 10}.bytes(t), true, "", "", 0, true},
		{"a shared object", program{kind: elf.ET_DYN}.bytes(t), true, "", "", 0, true},
		{"an object file", program{kind: elf.ET_REL}.bytes(t), true, "", "", 0, false},
		{"a core dump", program{kind: elf.ET_CORE}.bytes(t), true, "", "", 0, false},
		{"debug information", program{kind: elf.ET_DYN, noCode: true}.bytes(t), true, "", "", 0, false},
		{"a truncated program", program{}.bytes(t)[:70], true, "", "", 0, true},
		{"a script", []byte("#!/bin/sh -e\necho"), true, "/bin/sh", "-e", 0, false},
		{"a script with a space", []byte("#! /usr/bin/env python3"), true, "/usr/bin/env", "python3", 0, false},
		{"text", []byte("ELF"), false, "", "", 0, false},
		{"nothing", nil, false, "", "", 0, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, ok, err := contents.ReadProgram(iotest.HalfReader(bytes.NewReader(test.file)))
			must(t, err)
			if ok != test.ok || got.Interpreter != test.interp || got.Argument != test.arg || got.ELF.CPUs != test.cpus || got.Runs != test.runs {
				t.Errorf("got %+v, %v", got, ok)
			}
		})
	}
}

// TestAttributesInData: what looks like attributes elsewhere in the file does not count.
func TestAttributesInData(t *testing.T) {
	arm, _ := platforms.MustParse("arm/v6").ELF()
	file := program{row: arm, cpu: 6, padding: 2000}.bytes(t)
	copy(file[500:], armAttributes(binary.LittleEndian, 10))
	got, _, err := contents.ReadProgram(bytes.NewReader(file))
	must(t, err)
	if got.ELF.CPUs != 1<<6 {
		t.Errorf("got %b", got.ELF.CPUs)
	}
}

// TestProgramsOfGo has a program of each platform built by Go, and every row of the table asked about it.
func TestProgramsOfGo(t *testing.T) {
	source := filepath.Join(t.TempDir(), "main.go")
	must(t, os.WriteFile(source, []byte("package main\n\nfunc main() { println() }\n"), 0o644))
	for _, p := range platforms.Known() {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "program")
			cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, source)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Architecture, "GOWORK=off")
			switch p.Architecture {
			case "arm":
				cmd.Env = append(cmd.Env, "GOARM="+strings.TrimPrefix(p.Variant, "v"))
			case "amd64":
				cmd.Env = append(cmd.Env, "GOAMD64=v1")
			}
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			file, err := os.Open(out)
			must(t, err)
			defer file.Close()
			got, ok, err := contents.ReadProgram(file)
			must(t, err)
			if !ok || !got.Runs {
				t.Fatalf("got %+v, %v", got, ok)
			}
			var want, runs []platforms.Platform
			for _, other := range platforms.Known() {
				// Go's programs do not say for which 32-bit ARM they are, and 386 runs on amd64.
				if other.Architecture == p.Architecture || (p.Architecture == "386" && other.Architecture == "amd64") {
					want = append(want, other)
				}
				if _, ok, _ := other.Runs(got.ELF); ok {
					runs = append(runs, other)
				}
			}
			if diff := cmp.Diff(want, runs); diff != "" {
				t.Error(diff)
			}
		})
	}
}
