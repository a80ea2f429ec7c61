// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"slices"
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
	removed := strings.ReplaceAll(trixieArm64, "install ok installed", "deinstall ok config-files")
	tests := []struct {
		name, status, platform string
		want                   []string
	}{
		{"the compiler of bookworm is in the short packages", bookwormArm64, "linux/arm64",
			[]string{"binutils-aarch64-linux-gnu", "cpp-12 cpp-12-aarch64-linux-gnu", "gcc-12 gcc-12-aarch64-linux-gnu"}},
		{"that of trixie in those with the triplet, and the short ones are empty", trixieArm64, "linux/arm64",
			[]string{"binutils-aarch64-linux-gnu", "cpp-14-aarch64-linux-gnu", "g++-14-aarch64-linux-gnu", "gcc-14-aarch64-linux-gnu"}},
		{"a root of another platform has none", trixieArm64, "linux/s390x", nil},
		{"a cross compiler in a root is not its compiler", stanza("cpp-14-aarch64-linux-gnu", "amd64", "14.2.0-19cross1"), "linux/amd64", nil},
		{"the names of amd64's packages have no underscore", stanza("binutils-x86-64-linux-gnu", "amd64", "2.44-3"), "linux/amd64",
			[]string{"binutils-x86-64-linux-gnu"}},
		{"a removed package has no programs", removed, "linux/arm64", nil},
		{"a port that Debian does not have", trixieArm64, "linux/arm/v6", nil},
		{"no status at all", "", "linux/arm64", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, tools := range crossbuild.CToolsOf(tt.status, platforms.MustParse(tt.platform)) {
				name := tools.Package
				if tools.Native != name {
					name += " " + tools.Native
				}
				got = append(got, name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCToolsFiles(t *testing.T) {
	tests := []struct {
		name, status, in string
		want             crossbuild.CFile
	}{
		{"an assembler needs nothing", bookwormArm64, "binutils-aarch64-linux-gnu",
			crossbuild.CFile{Path: "/usr/bin/aarch64-linux-gnu-as", Native: "/usr/bin/aarch64-linux-gnu-as"}},
		{"gcc 12 has its passes in lib", bookwormArm64, "cpp-12", crossbuild.CFile{
			Path: "/usr/lib/gcc/aarch64-linux-gnu/12/cc1", Native: "/usr/lib/gcc-cross/aarch64-linux-gnu/12/cc1",
			Prefix: "/usr/lib/gcc/aarch64-linux-gnu/12/",
		}},
		{"gcc 14 in libexec, and its headers in lib", trixieArm64, "g++-14-aarch64-linux-gnu", crossbuild.CFile{
			Path: "/usr/libexec/gcc/aarch64-linux-gnu/14/cc1plus", Native: "/usr/libexec/gcc-cross/aarch64-linux-gnu/14/cc1plus",
			Prefix: "/usr/lib/gcc/aarch64-linux-gnu/14/",
		}},
		{"the link editor's plug-in comes with gcc", trixieArm64, "gcc-14-aarch64-linux-gnu", crossbuild.CFile{
			Path:   "/usr/libexec/gcc/aarch64-linux-gnu/14/liblto_plugin.so",
			Native: "/usr/libexec/gcc-cross/aarch64-linux-gnu/14/liblto_plugin.so",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if files := cTools(t, tt.status, tt.in).Files; !slices.Contains(files, tt.want) {
				t.Errorf("%+v is not in %+v", tt.want, files)
			}
		})
	}
}

func TestCToolsProof(t *testing.T) {
	tests := []struct {
		name, foreign, native, tools string
		want                         bool
		why                          string
	}{
		{"binutils of one version is of one source", bookwormArm64, bookwormAmd64, "binutils-aarch64-linux-gnu", true,
			"binutils-aarch64-linux-gnu and binutils-aarch64-linux-gnu are of binutils 2.40-2"},
		{"trixie's cross compiler is built from the source of the native one", trixieArm64, trixieAmd64, "cpp-14-aarch64-linux-gnu", true,
			"cpp-14-aarch64-linux-gnu and cpp-14-aarch64-linux-gnu are of gcc-14 14.2.0-19"},
		{"so is Ubuntu's", nobleArm64, nobleAmd64, "cpp-13-aarch64-linux-gnu", true,
			"cpp-13-aarch64-linux-gnu and cpp-13-aarch64-linux-gnu are of gcc-13 13.3.0-6ubuntu2~24.04.1"},
		{"bookworm's lacks the mend of CVE-2023-4039", bookwormArm64, bookwormAmd64, "cpp-12", false,
			"cpp-12 is of gcc-12 12.2.0-14+deb12u1, cpp-12-aarch64-linux-gnu of gcc-12 12.2.0-14"},
		{"before that mend they were of one source", strings.ReplaceAll(bookwormArm64, "+deb12u1", ""), bookwormAmd64, "cpp-12", true,
			"cpp-12 and cpp-12-aarch64-linux-gnu are of gcc-12 12.2.0-14"},
		{"a rebuild of one architecture is of the same source",
			stanza("binutils-aarch64-linux-gnu", "arm64", "2.44-3+b1", "Source: binutils (2.44-3)"),
			stanza("binutils-aarch64-linux-gnu", "amd64", "2.44-3", "Source: binutils"), "binutils-aarch64-linux-gnu", true,
			"binutils-aarch64-linux-gnu and binutils-aarch64-linux-gnu are of binutils 2.44-3"},
		{"a native package that is not there proves nothing", trixieArm64, bookwormAmd64, "g++-14-aarch64-linux-gnu", false,
			"there is no g++-14-aarch64-linux-gnu"},
		{"nor does one that says nothing", trixieArm64, stanza("cpp-14-aarch64-linux-gnu", "amd64", "14.2.0-19cross1", "Source: gcc-14-cross (9)"),
			"cpp-14-aarch64-linux-gnu", false, "cpp-14-aarch64-linux-gnu does not tell of which gcc-14 it is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, why := cTools(t, tt.foreign, tt.tools).Proof(tt.native)
			if got != tt.want || why != tt.why {
				t.Errorf("got %v, %q, want %v, %q", got, why, tt.want, tt.why)
			}
		})
	}
}

func TestHeaderDirs(t *testing.T) {
	tests := []struct {
		name, platform string
		cxx            bool
		want           []string
	}{
		{"C", "linux/arm64", false, []string{"/usr/local/include"}},
		{"C++ before C, by the multiarch name", "linux/386", true, []string{
			"/usr/include/c++/14", "/usr/include/i386-linux-gnu/c++/14", "/usr/include/c++/14/backward", "/usr/local/include",
		}},
		{"a port that Debian does not have", "linux/arm/v6", false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, crossbuild.HeaderDirs(platforms.MustParse(tt.platform), "14", tt.cxx)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func cTools(t *testing.T, status, name string) crossbuild.CTools {
	t.Helper()
	all := crossbuild.CToolsOf(status, platforms.MustParse("linux/arm64"))
	i := slices.IndexFunc(all, func(c crossbuild.CTools) bool { return c.Package == name })
	if i < 0 {
		t.Fatalf("%s is not in %+v", name, all)
	}
	return all[i]
}
