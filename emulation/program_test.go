// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// missing skips the test on a laptop and fails it where everything must be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MAB_E2E") == "all" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// qemu returns the emulator of an architecture, the host's own too.
func qemu(t *testing.T, name string) string {
	t.Helper()
	for _, file := range []string{"qemu-" + name + "-static", "qemu-" + name} {
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	missing(t, "no qemu-"+name)
	return ""
}

func program(t *testing.T, p platforms.Platform) (path string) {
	t.Helper()
	image, ok := emulation.Program(p)
	if !ok {
		t.Fatalf("no program for %s", p)
	}
	path = filepath.Join(t.TempDir(), p.Slug())
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func status(t *testing.T, command string, args ...string) int {
	t.Helper()
	cmd := exec.Command(command, args...)
	cmd.Env = []string{}
	_ = cmd.Run() // Its status is what counts.
	if cmd.ProcessState == nil {
		t.Fatalf("%s did not start", command)
	}
	return cmd.ProcessState.ExitCode()
}

func TestProgramsAreOfTheirPlatform(t *testing.T) {
	for _, p := range platforms.Known() {
		t.Run(p.Slug(), func(t *testing.T) {
			image, ok := emulation.Program(p)
			if !ok {
				t.Fatal("no program")
			}
			row, _ := p.ELF()
			if file, ok := platforms.ParseELF(image); !ok || !row.Accepts(file) {
				t.Errorf("its header is %+v", file)
			}
			file, err := elf.NewFile(bytes.NewReader(image))
			if err != nil {
				t.Fatal(err)
			}
			load := file.Progs[0]
			if file.Entry < load.Vaddr || file.Entry >= load.Vaddr+load.Memsz || load.Filesz != uint64(len(image)) || load.Vaddr%load.Align != 0 {
				t.Errorf("entry %#x, segment %+v, file of %d bytes", file.Entry, load.ProgHeader, len(image))
			}
		})
	}
	if _, ok := emulation.Program(platforms.MustParse("arm64/v9")); !ok {
		t.Error("arm64/v9 has none, though arm64 has")
	}
	if _, ok := emulation.Program(platforms.MustParse("windows/amd64")); ok {
		t.Error("windows/amd64 has one")
	}
}

func TestProgramsRunUnderQEMU(t *testing.T) {
	for _, p := range platforms.Known() {
		t.Run(p.Slug(), func(t *testing.T) {
			h, ok := emulation.HandlerFor(p)
			if !ok {
				t.Fatal("no handler")
			}
			got := status(t, qemu(t, h.QEMU), program(t, p))
			// QEMU 7.2 has no AVX-512; then its absence must be told.
			lacks := p == platforms.MustParse("amd64/v4") && got == emulation.ProgramLacks
			if got != emulation.ProgramStatus && !lacks {
				t.Errorf("status %d", got)
			}
		})
	}
}

func TestVariantsNeedTheirInstructions(t *testing.T) {
	for _, tt := range []struct {
		qemu, cpu string
		runs      []string
		lacks     []string
	}{
		{"arm", "arm926", []string{"arm/v5"}, []string{"arm/v6", "arm/v7"}},
		{"arm", "arm1176", []string{"arm/v5", "arm/v6"}, []string{"arm/v7"}},
		{"arm", "cortex-a7", []string{"arm/v5", "arm/v6", "arm/v7"}, nil},
		{"x86_64", "qemu64", []string{"amd64"}, []string{"amd64/v2", "amd64/v3", "amd64/v4"}},
		{"x86_64", "Nehalem", []string{"amd64", "amd64/v2"}, []string{"amd64/v3", "amd64/v4"}},
		{"x86_64", "Haswell", []string{"amd64", "amd64/v2", "amd64/v3"}, []string{"amd64/v4"}},
	} {
		t.Run(tt.cpu, func(t *testing.T) {
			emulator := qemu(t, tt.qemu)
			for want, names := range map[int][]string{emulation.ProgramStatus: tt.runs, emulation.ProgramLacks: tt.lacks} {
				for _, name := range names {
					if got := status(t, emulator, "-cpu", tt.cpu, program(t, platforms.MustParse(name))); got != want {
						t.Errorf("%s: status %d, want %d", name, got, want)
					}
				}
			}
		})
	}
}
