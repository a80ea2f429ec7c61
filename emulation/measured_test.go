// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// speeds are so many times those of a machine that does everything at the rate of 1.
func speeds(times float64) emulation.Speeds {
	return emulation.Speeds{Integer: times, Exec: times, Float: times, Syscalls: times, Threads: times}
}

// TestChoose has a file of mab's before one of the system's, and then another of the system's.
func TestChoose(t *testing.T) {
	arm64 := platforms.MustParse("arm64")
	kept := func(path, version string, s emulation.Speeds) emulation.Measured {
		return emulation.Measured{Platform: arm64, Emulator: path, Version: version, Digest: digest.FromString(path), Speeds: s, Relative: 0.1}
	}
	partly := speeds(0)
	partly.Integer, partly.Exec = 0.1, 0.4
	for _, test := range []struct {
		rule string
		of   []emulation.Measured
		at   int
		why  string // a part of it
	}{
		{"nothing was measured", nil, 0, ""},
		{"the faster one", []emulation.Measured{kept("/mab", "10.2.3", speeds(0.1)), kept("/a", "7.2.22", speeds(0.13))}, 1, "measured 1.30 times as fast as QEMU 10.2.3 (/mab)"},
		{"the fastest", []emulation.Measured{kept("/mab", "10.2.3", speeds(0.1)), kept("/a", "7.2.22", speeds(0.13)), kept("/b", "8.2.0", speeds(0.14))}, 2, "1.40 times"},
		{"the first where it is the faster one", []emulation.Measured{kept("/mab", "10.2.3", speeds(0.1)), kept("/a", "7.2.22", speeds(0.05))}, 0, ""},
		{"the first where the difference may be noise", []emulation.Measured{kept("/mab", "10.2.3", speeds(0.1)), kept("/a", "7.2.22", speeds(0.109))}, 0, ""},
		{"the first where it was not measured: it came after that", []emulation.Measured{kept("/a", "7.2.22", speeds(0.2)), kept("/b", "7.2.22", speeds(0.1))}, 0, ""},
		{"a faster one with a known fault is not taken", []emulation.Measured{kept("/mab", "10.2.3", speeds(0.1)), kept("/a", "9.2.0", speeds(0.5))}, 0, ""},
		{"one without a fault instead of one that has it", []emulation.Measured{kept("/mab", "9.2.0", speeds(0.5)), kept("/a", "7.2.22", speeds(0.1))}, 1, "of QEMU 9.2.0 (/mab) it is known that ldconfig"},
		{"the first where all have a fault", []emulation.Measured{kept("/mab", "9.2.0", speeds(0.1)), kept("/a", "4.2", speeds(0.5))}, 0, ""},
		{"what only one was measured by does not count", []emulation.Measured{kept("/mab", "10.2.3", speeds(0.1)), kept("/a", "7.2.22", partly)}, 1, "measured 2.00 times"},
		{"a file that has changed was not measured", []emulation.Measured{kept("/mab", "10.2.3", speeds(0.1)), kept("/a of before", "7.2.22", speeds(0.5))}, 0, ""},
		{"another platform's was not either", []emulation.Measured{
			{Platform: platforms.MustParse("s390x"), Digest: digest.FromString("/mab"), Speeds: speeds(0.1), Relative: 0.1}, kept("/a", "7.2.22", speeds(0.5)),
		}, 0, ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			at, why := emulation.ChooseOf(emulation.Measurements{Of: test.of}, arm64, platforms.MustParse("amd64"), "/mab", "/a", "/b")
			if at != test.at || !strings.Contains(why, test.why) || (why == "") != (at == 0) {
				t.Errorf("%d, %q; want %d, %q", at, why, test.at, test.why)
			}
		})
	}
}

func TestRelative(t *testing.T) {
	half, all := speeds(0.5), speeds(2)
	half.Threads = 0
	for _, test := range []struct {
		rule    string
		of, own emulation.Speeds
		want    float64
	}{
		{"a quarter of everything", half, all, 0.25},
		{"nothing in common", emulation.Speeds{Float: 1}, emulation.Speeds{Exec: 1}, 0},
		{"the mean is that of factors", emulation.Speeds{Float: 8, Exec: 1}, emulation.Speeds{Float: 1, Exec: 2}, 2},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := emulation.RelativeOf(test.of, test.own); math.Abs(got-test.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestMeasurementsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "emulation.json")
	arm64 := platforms.MustParse("arm64")
	old := emulation.Measured{Platform: arm64, Emulator: "/a", Version: "7.2", Digest: digest.FromString("a"), Speeds: speeds(1), Relative: 1}
	fresh, other := old, old
	fresh.Version, other.Emulator = "8.0", "/b"
	kept := emulation.Measurements{Kernel: "6.1", Model: "EPYC", Of: []emulation.Measured{old, other}}.With([]emulation.Measured{fresh})
	if err := kept.Write(path); err != nil {
		t.Fatal(err)
	}
	want := emulation.Measurements{Kernel: "6.1", Model: "EPYC", Of: []emulation.Measured{other, fresh}}
	if diff := cmp.Diff(want, emulation.ReadMeasurements(path, "6.1", "EPYC")); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if got := emulation.ReadMeasurements(path, "6.1", "another CPU"); len(got.Of) != 0 || got.Model != "another CPU" {
		t.Errorf("of another machine: %+v", got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := emulation.ReadMeasurements(path, "6.1", "EPYC"); len(got.Of) != 0 {
		t.Errorf("damaged: %+v", got)
	}
	for _, want := range []bool{true, false} {
		if was, err := emulation.Forget(path); was != want || err != nil {
			t.Errorf("forgotten: %v, %v", was, err)
		}
	}
}

// TestFindByMeasurement has two files for s390x, of which the second was measured faster.
func TestFindByMeasurement(t *testing.T) {
	if platforms.Host().Architecture == "s390x" {
		t.Skip("the host needs no emulator for it")
	}
	s390x := platforms.MustParse("s390x")
	self, err := os.ReadFile(qemu(t, "s390x"))
	if err != nil {
		t.Fatal(err)
	}
	first, second := t.TempDir(), t.TempDir()
	contents := map[string][]byte{first: self, second: append(self[:len(self):len(self)], 0)}
	var of []emulation.Measured
	for i, dir := range []string{first, second} {
		if err := os.WriteFile(filepath.Join(dir, "qemu-s390x"), contents[dir], 0o755); err != nil {
			t.Fatal(err)
		}
		of = append(of, emulation.Measured{
			Platform: s390x, Emulator: filepath.Join(dir, "qemu-s390x"), Version: "7.2.22", Digest: digest.FromBytes(contents[dir]),
			Speeds: speeds(float64(i + 1)), Relative: float64(i + 1),
		})
	}
	if err := os.Symlink(first, filepath.Join(second, "again")); err != nil {
		t.Fatal(err)
	}
	cfg := emulation.FindConfig{Dirs: []string{first, filepath.Join(second, "again"), second}}
	path := func() (string, string) {
		t.Helper()
		found, _, err := emulation.Find(cfg)
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		return filepath.Dir(found[0].Path), found[0].Why
	}
	if dir, why := path(); dir != first || why != "" {
		t.Errorf("without measurements: %s, %q", dir, why)
	}
	all, err := emulation.Candidates(cfg)
	if err != nil || len(all) != 2 {
		t.Errorf("candidates: %v, %v", all, err)
	}
	cfg.Measured.Of = of
	if dir, why := path(); dir != second || !strings.HasPrefix(why, "measured 2.00 times as fast") {
		t.Errorf("with measurements: %s, %q", dir, why)
	}
}
