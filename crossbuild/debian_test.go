// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// stanza is a package as /var/lib/dpkg/status has it.
func stanza(name, arch, version string, more ...string) string {
	lines := append([]string{
		"Package: " + name, "Status: install ok installed", "Architecture: " + arch, "Version: " + version,
		"Description: a package", " Source: of no field, but of the description",
	}, more...)
	return strings.Join(lines, "\n") + "\n"
}

var (
	// The stanzas are those of the releases, without what is not read.
	bookwormArm64 = strings.Join([]string{
		stanza("binutils", "arm64", "2.40-2"),
		stanza("binutils-aarch64-linux-gnu", "arm64", "2.40-2", "Source: binutils"),
		stanza("cpp-12", "arm64", "12.2.0-14+deb12u1", "Source: gcc-12"),
		stanza("gcc-12", "arm64", "12.2.0-14+deb12u1"),
		stanza("gcc-12-base", "arm64", "12.2.0-14+deb12u1", "Source: gcc-12"),
		stanza("gcc", "arm64", "4:12.2.0-3", "Source: gcc-defaults (1.203)"),
	}, "\n")
	trixieArm64 = strings.Join([]string{
		stanza("binutils-aarch64-linux-gnu", "arm64", "2.44-3", "Source: binutils"),
		stanza("cpp-14", "arm64", "14.2.0-19", "Source: gcc-14"),
		stanza("cpp-14-aarch64-linux-gnu", "arm64", "14.2.0-19", "Source: gcc-14"),
		stanza("g++-14-aarch64-linux-gnu", "arm64", "14.2.0-19", "Source: gcc-14"),
		stanza("gcc-14-aarch64-linux-gnu", "arm64", "14.2.0-19", "Source: gcc-14"),
	}, "\n")
	nobleArm64 = stanza("cpp-13-aarch64-linux-gnu", "arm64", "13.3.0-6ubuntu2~24.04.1", "Source: gcc-13")

	bookwormAmd64 = strings.Join([]string{
		stanza("binutils-aarch64-linux-gnu", "amd64", "2.40-2", "Source: binutils"),
		stanza("cpp-12-aarch64-linux-gnu", "amd64", "12.2.0-14cross1", "Source: gcc-12-cross (15)", "Built-Using: gcc-12 (= 12.2.0-14)"),
	}, "\n")
	trixieAmd64 = stanza("cpp-14-aarch64-linux-gnu", "amd64", "14.2.0-19cross1", "Source: gcc-14-cross (9)",
		"Built-Using: glibc (= 2.41-1), gcc-14 (= 14.2.0-19)")
	nobleAmd64 = stanza("cpp-13-aarch64-linux-gnu", "amd64", "13.3.0-6ubuntu2~24.04.1cross1", "Source: gcc-13-cross (14ubuntu1)",
		"Built-Using: gcc-13 (= 13.3.0-6ubuntu2~24.04.1)")
)

func TestCToolsOf(t *testing.T) {
	const libexec = "/usr/libexec/gcc/aarch64-linux-gnu/14/"
	removed := strings.ReplaceAll(trixieArm64, "install ok installed", "deinstall ok config-files")
	for _, test := range []struct {
		rule, status, platform string
		want                   []string
	}{
		{"gcc 12 of bookworm is in the short packages, and its passes in lib", bookwormArm64, "linux/arm64", []string{
			"binutils-aarch64-linux-gnu /usr/bin/aarch64-linux-gnu-as /usr/bin/aarch64-linux-gnu-as",
			"cpp-12-aarch64-linux-gnu /usr/lib/gcc/aarch64-linux-gnu/12/cc1 /usr/lib/gcc-cross/aarch64-linux-gnu/12/cc1",
			"gcc-12-aarch64-linux-gnu /usr/lib/gcc/aarch64-linux-gnu/12/lto1 /usr/lib/gcc-cross/aarch64-linux-gnu/12/lto1",
		}},
		{"gcc 14 of trixie is in those with the triplet, and the short ones are empty", trixieArm64, "linux/arm64", []string{
			"binutils-aarch64-linux-gnu /usr/bin/aarch64-linux-gnu-as /usr/bin/aarch64-linux-gnu-as",
			"cpp-14-aarch64-linux-gnu " + libexec + "cc1 /usr/libexec/gcc-cross/aarch64-linux-gnu/14/cc1",
			"g++-14-aarch64-linux-gnu " + libexec + "cc1plus /usr/libexec/gcc-cross/aarch64-linux-gnu/14/cc1plus",
			"gcc-14-aarch64-linux-gnu " + libexec + "lto1 /usr/libexec/gcc-cross/aarch64-linux-gnu/14/lto1",
		}},
		{"a root of another platform has none", trixieArm64, "linux/s390x", nil},
		{"a cross compiler in a root is not its compiler", stanza("cpp-14-aarch64-linux-gnu", "amd64", "14.2.0-19cross1"), "linux/amd64", nil},
		{"the names of amd64's packages have no underscore", stanza("binutils-x86-64-linux-gnu", "amd64", "2.44-3"), "linux/amd64",
			[]string{"binutils-x86-64-linux-gnu /usr/bin/x86_64-linux-gnu-as /usr/bin/x86_64-linux-gnu-as"}},
		{"a removed package has no programs", removed, "linux/arm64", nil},
		{"a port that Debian does not have", trixieArm64, "linux/arm/v6", nil},
		{"no status at all", "", "linux/arm64", nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			tools := crossbuild.CToolsOf(test.status, platforms.MustParse(test.platform))
			var got []string
			for _, tool := range tools {
				got = append(got, tool.Native+" "+tool.Path+" "+tool.Program)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again := crossbuild.CToolsOf(crossbuild.CRecord(tools), platforms.MustParse(test.platform))
			if len(again) != len(tools) {
				t.Fatalf("what is kept of %v is %v", tools, again)
			}
			for i := range again {
				if again[i] != tools[i] {
					t.Errorf("what is kept of %v is %v", tools[i], again[i])
				}
			}
		})
	}
}

func TestCToolsProof(t *testing.T) {
	for _, test := range []struct {
		rule, foreign, native, tool string
		want                        bool
		why                         string
	}{
		{"binutils of one version is of one source", bookwormArm64, bookwormAmd64, "binutils-aarch64-linux-gnu", true, ""},
		{"trixie's cross compiler is built from the source of the native one", trixieArm64, trixieAmd64, "cpp-14-aarch64-linux-gnu", true, ""},
		{"so is Ubuntu's", nobleArm64, nobleAmd64, "cpp-13-aarch64-linux-gnu", true, ""},
		{"bookworm's lacks the mend of CVE-2023-4039", bookwormArm64, bookwormAmd64, "cpp-12", false,
			"cpp-12 is of gcc-12 12.2.0-14+deb12u1, cpp-12-aarch64-linux-gnu of gcc-12 12.2.0-14"},
		{"before that mend they were of one source", strings.ReplaceAll(bookwormArm64, "+deb12u1", ""), bookwormAmd64, "cpp-12", true, ""},
		{"a rebuild of one architecture is of the same source",
			stanza("binutils-aarch64-linux-gnu", "arm64", "2.44-3+b1", "Source: binutils (2.44-3)"),
			stanza("binutils-aarch64-linux-gnu", "amd64", "2.44-3", "Source: binutils"), "binutils-aarch64-linux-gnu", true, ""},
		{"a native package that is not there proves nothing", trixieArm64, bookwormAmd64, "g++-14-aarch64-linux-gnu", false,
			"there is no g++-14-aarch64-linux-gnu"},
		{"nor does one that says nothing", trixieArm64, stanza("cpp-14-aarch64-linux-gnu", "amd64", "14.2.0-19cross1", "Source: gcc-14-cross (9)"),
			"cpp-14-aarch64-linux-gnu", false, "cpp-14-aarch64-linux-gnu does not tell of which gcc-14 it is"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			for _, tool := range crossbuild.CToolsOf(test.foreign, platforms.MustParse("linux/arm64")) {
				if tool.Package != test.tool {
					continue
				}
				if got, why := tool.Proof(test.native); got != test.want || why != test.why {
					t.Errorf("got %v, %q, want %v, %q", got, why, test.want, test.why)
				}
				return
			}
			t.Errorf("there is no %s", test.tool)
		})
	}
}
