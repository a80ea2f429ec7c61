// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// work writes the program of p into a file, changed by change.
func work(t *testing.T, p platforms.Platform, change func(program []byte)) (path string) {
	t.Helper()
	image, ok := emulation.Work(p)
	if !ok {
		t.Fatalf("no program for %s", p)
	}
	change(image)
	path = filepath.Join(t.TempDir(), p.Slug())
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWorkResult does the work in Go.
func TestWorkResult(t *testing.T) {
	var w [16384]uint32
	for i := range w {
		w[i] = uint32(i)
	}
	s, x := uint32(1), uint32(1)
	for range emulation.WorkRounds {
		s = s*1664525 + 1013904223
		if t := w[s>>18]; t&31 == 0 {
			x ^= t >> 1
		} else {
			x += t
		}
		w[s>>18] = x
		x ^= x >> 7
		x += s
	}
	if x != emulation.WorkResult {
		t.Errorf("%#x", x)
	}
}

func TestWorkUnderQEMU(t *testing.T) {
	for _, p := range platforms.Known() {
		t.Run(p.Slug(), func(t *testing.T) {
			t.Parallel()
			h, _ := emulation.HandlerFor(p)
			if got := status(t, qemu(t, h.QEMU), work(t, p, func([]byte) {})); got != emulation.ProgramStatus {
				t.Errorf("status %d", got)
			}
		})
	}
}

// TestWorkOnOldCPUs has the rows run on the oldest CPU of their architecture that QEMU knows and Linux runs on.
func TestWorkOnOldCPUs(t *testing.T) {
	for _, test := range []struct{ platform, qemu, cpu string }{
		{"amd64", "x86_64", "qemu64"},
		{"386", "i386", "pentium"},
		{"arm/v5", "arm", "arm926"},
		{"arm64", "aarch64", "cortex-a53"},
		{"riscv64", "riscv64", "rv64"},
		{"s390x", "s390x", "z900"},
		{"ppc64le", "ppc64le", "power8"},
		{"ppc64", "ppc64", "970"},
		{"mips64le", "mips64el", "MIPS64R2-generic"},
	} {
		t.Run(test.platform, func(t *testing.T) {
			t.Parallel()
			if got := status(t, qemu(t, test.qemu), "-cpu", test.cpu, work(t, platforms.MustParse(test.platform), func([]byte) {})); got != emulation.ProgramStatus {
				t.Errorf("status %d", got)
			}
		})
	}
}

func TestWorkHere(t *testing.T) {
	p := platforms.Host()
	if got := status(t, work(t, p, func([]byte) {})); got != emulation.ProgramStatus {
		t.Errorf("status %d", got)
	}
}
