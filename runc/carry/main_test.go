// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	main "github.com/mab-build/mab/runc/carry"
)

// program makes an ELF file of one segment.
func program(t *testing.T, machine elf.Machine, segment elf.ProgType) []byte {
	t.Helper()
	var out bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	for _, part := range []any{header, elf.Prog64{Type: uint32(segment)}} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func TestStatic(t *testing.T) {
	for _, test := range []struct {
		rule, arch string
		content    []byte
		want       string
	}{
		{"static amd64", "amd64", program(t, elf.EM_X86_64, elf.PT_LOAD), ""},
		{"static arm64", "arm64", program(t, elf.EM_AARCH64, elf.PT_LOAD), ""},
		{"static riscv64", "riscv64", program(t, elf.EM_RISCV, elf.PT_LOAD), ""},
		{"another architecture's", "arm64", program(t, elf.EM_X86_64, elf.PT_LOAD), "it is for EM_X86_64"},
		{"with an interpreter", "amd64", program(t, elf.EM_X86_64, elf.PT_INTERP), "it is linked dynamically"},
		{"with libraries", "amd64", program(t, elf.EM_X86_64, elf.PT_DYNAMIC), "it is linked dynamically"},
		{"an unknown architecture", "mips", program(t, elf.EM_MIPS, elf.PT_LOAD), `no release is for architecture "mips"`},
		{"a script", "amd64", []byte("#!/bin/sh\necho runc version 1.5.2\n"), "bad magic number '[35 33 47 98]' in record at byte 0x0"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := ""
			if err := main.Static(test.content, test.arch); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCarry(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "runc")
	content := program(t, elf.EM_AARCH64, elf.PT_LOAD)
	if err := os.WriteFile(file, content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := main.Carry("arm64", file, dir); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(filepath.Join(dir, "arm64.zst"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := r.DecodeAll(packed, nil); err != nil || !bytes.Equal(got, content) {
		t.Errorf("unpacked %d bytes, %v", len(got), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "arm64.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"version": "1.5.2", "seccomp": "2.6.0", "libc": "2.36", "sha256": fmt.Sprintf("%x", sha256.Sum256(content))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := main.Carry("amd64", file, dir); err == nil {
		t.Error("an arm64 program was packed for amd64")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "amd64*")); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}
