// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

func TestMeasure(t *testing.T) {
	got, err := emulation.Measure()
	if err != nil || got.Float <= 0 || got.Syscalls <= 0 || got.Threads <= 0 || got.Integer != 0 || got.Exec != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestBench measures a real emulator, and a file that only looks like one.
func TestBench(t *testing.T) {
	real := qemu(t, "s390x")
	dir, broken := t.TempDir(), t.TempDir()
	if err := os.Symlink(real, filepath.Join(dir, "qemu-s390x-static")); err != nil {
		t.Fatal(err)
	}
	// A static program that is no emulator.
	program, _ := emulation.Program(platforms.Host())
	if err := os.WriteFile(filepath.Join(broken, "qemu-s390x-static"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := emulation.BenchConfig{
		Platforms: []platforms.Platform{platforms.MustParse("s390x")}, Find: emulation.FindConfig{Dirs: []string{dir, broken}},
	}
	got, err := emulation.Bench(t.Context(), cfg)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	own, fine, bad := got[0], got[1], got[2]
	if own.Platform != platforms.Host() || own.Emulator != "" || own.Integer <= 0 || own.Exec <= 0 || own.Relative != 1 {
		t.Errorf("natively: %+v", own)
	}
	if fine.Problem != "" || fine.Version == "" || fine.Digest == "" || fine.Exec <= 0 || fine.Exec >= own.Exec || fine.Relative <= 0 || fine.Relative >= 1 {
		t.Errorf("emulated: %+v", fine)
	}
	if bad.Problem == "" || bad.Relative != 0 {
		t.Errorf("broken: %+v", bad)
	}
	t.Run("what the measurer says is taken over, and its failure is the emulator's", func(t *testing.T) {
		cfg := cfg
		cfg.Find.Dirs = []string{dir}
		cfg.Measurer = func(p platforms.Platform) []string {
			if p == platforms.Host() {
				return []string{"/bin/echo", `{"float": 4, "threads": 2}`}
			}
			return []string{"/nonexistent"}
		}
		got, err := emulation.Bench(t.Context(), cfg)
		if err != nil || len(got) != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		if got[0].Float != 4 || got[0].Threads != 2 || got[0].Integer <= 0 || got[1].Problem == "" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the caller gives up", func(t *testing.T) {
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := emulation.Bench(over, cfg); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
