// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

func TestTroubleWith(t *testing.T) {
	for _, test := range []struct {
		version, guest, host string
		want                 string // a word of what happens
	}{
		{"4.2.1", "arm64", "amd64", "Debian 11"},
		{"2.11.1(Debian", "arm64", "amd64", "Debian 11"},
		{"5.0", "arm64", "amd64", ""},
		{"5.0.1", "arm64", "amd64", ""},
		{"5.1.0", "arm64", "amd64", "at their start"},
		{"5.2.0", "arm64", "ppc64le", "at their start"},
		{"5.2.0", "arm64/v9", "amd64", "at their start"},
		{"6.0.0", "arm64", "amd64", ""},
		{"7.2.22", "arm64", "amd64", ""},
		{"9.1.99", "arm64", "amd64", ""},
		{"9.2.0", "arm64", "amd64", "Ubuntu 22.04"},
		{"9.2.1", "arm64", "amd64", "Ubuntu 22.04"},
		{"9.2.2", "arm64", "amd64", ""},
		{"10.2.3", "arm64", "amd64", ""},
		{"9.2.0", "s390x", "amd64", ""},
		{"", "arm64", "amd64", ""},
		{"unknown", "arm64", "amd64", ""},
		{"6.0.0", "s390x", "amd64", "Java"},
		{"6.1", "s390x", "amd64", ""},
		// What meets few is said when it is met.
		{"7.2.22", "riscv64", "amd64", ""},
		{"10.0.4", "arm64", "amd64", ""},
		// What every version has is not said with each build.
		{"7.2.22", "arm/v7", "amd64", ""},
		{"7.2.22", "amd64", "arm64", ""},
	} {
		t.Run(test.version+" "+test.guest, func(t *testing.T) {
			got, ok := emulation.TroubleWith(test.version, platforms.MustParse(test.guest), platforms.MustParse(test.host))
			if ok != (test.want != "") || !strings.Contains(got.What, test.want) {
				t.Errorf("%v, %+v", ok, got)
			}
		})
	}
}

func TestTroublesHaveSources(t *testing.T) {
	for _, row := range emulation.Troubles() {
		if other, ok := emulation.TroubleSaid(row.Says, "", row.Guest); row.Says != "" && (!ok || other.What != row.What && other.Guest != row.Guest) {
			t.Errorf("%q is said by %+v", row.Says, other)
		}
		if row.What == "" || len(row.Sources) == 0 || (row.Before == "") == (row.Mend == "") {
			t.Errorf("%+v", row)
		}
		for _, s := range row.Sources {
			if !strings.HasPrefix(s, "https://") {
				t.Errorf("%s: %q is no address", row.What, s)
			}
		}
	}
}

func TestJudgeVersion(t *testing.T) {
	arm64, amd64 := platforms.MustParse("arm64"), platforms.MustParse("amd64")
	for _, test := range []struct {
		rule          string
		support       emulation.Support
		problem, mend string
	}{
		{"a known fault, privately", emulation.Support{How: emulation.Emulated, Instance: "private", Version: "9.2.0"},
			"QEMU 9.2.0: ldconfig of Debian 11", "mab emulation install arm64"},
		{"a known fault of the host's", emulation.Support{How: emulation.Emulated, Instance: "host", Version: "9.2.0"},
			"QEMU 9.2.0: ldconfig of Debian 11", "as root: mab emulation install --host arm64"},
		{"a good version", emulation.Support{How: emulation.Emulated, Instance: "private", Version: "10.2.3"}, "", ""},
		{"what is wrong with the handler comes first", emulation.Support{How: emulation.Emulated, Version: "9.2.0", Problem: "no P", Mend: "add it"},
			"no P", "add it"},
		{"what does not run has its own reason", emulation.Support{How: emulation.None, Version: "9.2.0"}, "", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := test.support
			got.Platform = arm64
			emulation.JudgeVersion(&got, amd64)
			if !strings.HasPrefix(got.Problem, test.problem) || (got.Problem == "") != (test.problem == "") || got.Mend != test.mend {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestTroublesInTheDocumentation holds the table of docs/emulation.md to the one in the program.
func TestTroublesInTheDocumentation(t *testing.T) {
	var want strings.Builder
	for _, row := range emulation.Troubles() {
		versions := "all"
		switch {
		case row.From != "" && row.Before != "":
			versions = row.From + " and later, before " + row.Before
		case row.Before != "":
			versions = "before " + row.Before
		}
		guest := row.Guest.String()
		if row.Guest == (platforms.Platform{}) {
			guest = "all"
		}
		if row.Host != "" {
			guest += " on " + row.Host
		}
		mend := row.Mend
		if mend == "" {
			mend = "`" + row.Remedy() + "`"
		}
		var sources []string
		for i, s := range row.Sources {
			sources = append(sources, fmt.Sprintf("[%d](%s)", i+1, s))
		}
		_, _ = fmt.Fprintf(&want, "| %s | %s | %s | %s | %s |\n", guest, versions, row.What, mend, strings.Join(sources, " "))
	}
	text, err := os.ReadFile("../docs/emulation.md")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "](http") && (strings.HasPrefix(line, "| linux/") || strings.HasPrefix(line, "| all ")) {
			got.WriteString(line)
		}
	}
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Errorf("the program -, docs/emulation.md +:\n%s", diff)
	}
}

func TestTroubleSaid(t *testing.T) {
	for _, test := range []struct {
		rule, text, version, guest string
		want                       string // a word of the mend
	}{
		{"in the middle of a line", "could not read directory '/root/.cargo': Value too large for defined data type; class=Os (2)\n", "7.2.22", "arm/v7", "tmpfs"},
		{"of a variant of the guest", "Value too large for defined data type", "", "arm/v6", "tmpfs"},
		{"no other guest's", "Value too large for defined data type", "7.2.22", "s390x", ""},
		{"every guest's", "tar: src/f: Cannot open: Function not implemented", "9.1.2", "s390x", "mab emulation install"},
		{"not what that version has not", "tar: src/f: Cannot open: Function not implemented", "9.2.0", "s390x", ""},
		{"before the first version that has it", "tar: f: Cannot open: Invalid argument", "8.2.2", "arm64", ""},
		{"between the versions", "tar: f: Cannot open: Invalid argument", "9.2.2", "arm64", "mab emulation install arm64"},
		{"the guest decides between two that say the same", "qemu: uncaught target signal 11 (Segmentation fault) - core dumped", "10.2.3", "amd64", "QEMU_GUEST_BASE"},
		{"the other guest", "qemu: uncaught target signal 11 (Segmentation fault) - core dumped", "10.2.3", "arm64", "mmap_rnd_bits"},
		{"of a version that is not known", "tar: f: Cannot open: Invalid argument", "unknown", "arm64", "mab emulation install arm64"},
		{"nothing", "all is well", "7.2.22", "arm64", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, ok := emulation.TroubleSaid(emulation.Telling(test.text), test.version, platforms.MustParse(test.guest))
			if ok != (test.want != "") || ok && !strings.Contains(got.Remedy(), test.want) {
				t.Errorf("%v, %+v", ok, got)
			}
		})
	}
}
