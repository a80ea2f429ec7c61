// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

func TestFind(t *testing.T) {
	static, _ := emulation.Program(platforms.MustParse("amd64"))
	foreign, _ := emulation.Program(platforms.MustParse("s390x"))
	dynamic := append([]byte{}, static...)
	// The second program header becomes PT_INTERP.
	binary.LittleEndian.PutUint32(dynamic[64+56:], uint32(elf.PT_INTERP))

	write := func(dir, name string, mode os.FileMode, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first, second := t.TempDir(), t.TempDir()
	write(first, "qemu-aarch64", 0o700, dynamic)
	aarch64 := write(second, "qemu-aarch64-static", 0o700, static)
	arm := write(first, "qemu-arm", 0o700, static)
	write(second, "qemu-arm", 0o700, static)
	riscv64 := write(second, "buildkit-qemu-riscv64", 0o700, static)
	s390x := write(second, "qemu-s390x", 0o700, static)
	linked := filepath.Join(first, "s390x-binfmt-P")
	if err := os.Symlink(s390x, linked); err != nil {
		t.Fatal(err)
	}
	write(first, "qemu-x86_64", 0o700, static)
	write(first, "qemu-ppc64le", 0o700, dynamic)
	write(first, "qemu-mips64", 0o700, foreign)
	write(first, "qemu-mips64el", 0o700, []byte("#!/bin/sh\nexec qemu-system-mips64el \"$@\"\n"))
	write(first, "qemu-ppc64", 0o600, static)
	if err := os.Mkdir(filepath.Join(first, "qemu-loongarch64"), 0o700); err != nil {
		t.Fatal(err)
	}

	found, refused, err := emulation.Find(emulation.FindConfig{
		Dirs: []string{first, "relative", second, first}, Host: platforms.MustParse("amd64"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var paths [][2]string
	for _, e := range found {
		paths = append(paths, [2]string{e.Handler.QEMU, e.Path})
	}
	if diff := cmp.Diff([][2]string{{"aarch64", aarch64}, {"arm", arm}, {"riscv64", riscv64}, {"s390x", s390x}}, paths); diff != "" {
		t.Error("found:", diff)
	}
	var reasons [][2]string
	for _, r := range refused {
		reasons = append(reasons, [2]string{r.Handler.QEMU, r.Reason})
	}
	want := [][2]string{
		{"ppc64le", "dynamically linked: its libraries would be looked up inside the container"},
		{"loongarch64", "not an executable file"},
		{"mips64el", "not an ELF program"},
		{"mips64", "a program for another machine (EM_S390)"},
		{"ppc64", "not an executable file"},
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Error("refused:", diff)
	}
	if _, _, err := emulation.Find(emulation.FindConfig{Host: platforms.MustParse("darwin/arm64")}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("on a Mac: %v", err)
	}
}

func TestParseVersion(t *testing.T) {
	for out, want := range map[string]string{
		"qemu-arm version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022": "7.2.22",
		"qemu-aarch64 version 10.0.2":                        "10.0.2",
		"qemu-x86_64 version 4.2.1, Copyright (c) 2003-2019": "4.2.1",
		"qemu-arm version ":                                  "error",
		"":                                                   "error",
		"hello":                                              "error",
	} {
		got, err := emulation.ParseVersion("/qemu", out)
		if err != nil {
			got = "error"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", out, diff)
		}
	}
}

func TestInstalledEmulators(t *testing.T) {
	found, refused, err := emulation.Find(emulation.FindConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		missing(t, "no QEMU")
	}
	for _, r := range refused {
		t.Logf("refused %s: %s", r.Path, r.Reason)
	}
	version, err := emulation.QEMUVersion(context.Background(), found[0].Path)
	if err != nil || version == "" {
		t.Errorf("%s: version %q, %v", found[0].Path, version, err)
	}
	if _, err := emulation.QEMUVersion(context.Background(), "/nowhere/qemu"); err == nil {
		t.Error("a missing emulator has a version")
	}
}
