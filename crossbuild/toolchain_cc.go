// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"bufio"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/mab-build/mab/platforms"
)

// CTools are the programs of one package of Debian's or Ubuntu's C toolchain in a foreign root.
type CTools struct {
	// Package holds them in the root, with its version; Source is what that was built from.
	Package, Version string
	Source           Source
	// Native is the package that holds the same programs for another CPU: programs of the node's that write code for the
	// root's platform.
	Native string
	// Files are the programs, in the order of their names. Not every release has all: what is not on both sides is left as it is.
	Files []CFile
}

// CFile is a program of a root, and the native one.
type CFile struct {
	// Path is in the root, Native in the root of the native package.
	Path, Native string
	// Prefix is what the native one needs as -iprefix to find the headers of the root's compiler, with the directories of
	// HeaderDirs appended to C_INCLUDE_PATH or CPLUS_INCLUDE_PATH. It is empty for a program that reads no headers.
	Prefix string
}

// Source is a source package.
type Source struct{ Name, Version string }

// String is "name version".
func (s Source) String() string { return s.Name + " " + s.Version }

// port is how Debian writes a platform: https://wiki.debian.org/Multiarch/Tuples. GNU names its programs and is, without
// underscores, in the names of cross packages; Multiarch is the directory of its libraries and headers.
type port struct{ Platform, Debian, GNU, Multiarch string }

var ports = []port{
	{"linux/386", "i386", "i686-linux-gnu", "i386-linux-gnu"},
	{"linux/amd64", "amd64", "x86_64-linux-gnu", "x86_64-linux-gnu"},
	{"linux/arm/v7", "armhf", "arm-linux-gnueabihf", "arm-linux-gnueabihf"},
	{"linux/arm64", "arm64", "aarch64-linux-gnu", "aarch64-linux-gnu"},
	{"linux/ppc64le", "ppc64el", "powerpc64le-linux-gnu", "powerpc64le-linux-gnu"},
	{"linux/riscv64", "riscv64", "riscv64-linux-gnu", "riscv64-linux-gnu"},
	{"linux/s390x", "s390x", "s390x-linux-gnu", "s390x-linux-gnu"},
}

// binutilsPrograms are those that read or write code. gprofng and its scripts read profiles of the CPU that they run on.
var binutilsPrograms = []string{
	"addr2line", "ar", "as", "c++filt", "elfedit", "ld.bfd", "ld.gold", "nm", "objcopy", "objdump", "ranlib", "readelf", "size",
	"strings", "strip",
}

// CToolsOf finds the C tools in a root of p by the text of its /var/lib/dpkg/status: binutils, the C compiler's passes, the
// C++ compiler's. Nothing is found in a root of another kind or another platform.
func CToolsOf(status string, p platforms.Platform) []CTools {
	i := slices.IndexFunc(ports, func(q port) bool { return q.Platform == p.String() })
	if i < 0 {
		return nil
	}
	var found []CTools
	for _, d := range debs(status) {
		if d.arch != ports[i].Debian {
			continue
		}
		if t, ok := ports[i].tools(d.name); ok {
			t.Package, t.Version, t.Source = d.name, d.version, d.source
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b CTools) int { return strings.Compare(a.Package, b.Package) })
	return found
}

// Proof says whether the native tools were built from the very source of t, by the text of the /var/lib/dpkg/status that
// they are in. If so the sentence says from which, else why it is not known.
func (t CTools) Proof(native string) (bool, string) {
	for _, d := range debs(native) {
		if d.name != t.Native {
			continue
		}
		sources := append(slices.Clone(d.using), d.source)
		if slices.Contains(sources, t.Source) {
			return true, fmt.Sprintf("%s and %s are of %s", t.Package, t.Native, t.Source)
		}
		for _, s := range sources {
			if s.Name == t.Source.Name {
				return false, fmt.Sprintf("%s is of %s, %s of %s", t.Package, t.Source, t.Native, s)
			}
		}
		return false, fmt.Sprintf("%s does not tell of which %s it is", t.Native, t.Source.Name)
	}
	return false, "there is no " + t.Native
}

// HeaderDirs are the directories of a root of p in which its gcc of a version looks for headers and a cross compiler does
// not, even with the right prefix, in gcc's order. Those that are not there are to be left out.
func HeaderDirs(p platforms.Platform, version string, cxx bool) []string {
	i := slices.IndexFunc(ports, func(q port) bool { return q.Platform == p.String() })
	if i < 0 {
		return nil
	}
	var dirs []string
	if cxx {
		dirs = []string{
			"/usr/include/c++/" + version,
			path.Join("/usr/include", ports[i].Multiarch, "c++", version),
			path.Join("/usr/include/c++", version, "backward"),
		}
	}
	return append(dirs, "/usr/local/include")
}

// tools are those of a package by its name.
func (p port) tools(name string) (CTools, bool) {
	dashed := strings.ReplaceAll(p.GNU, "_", "-")
	if name == "binutils-"+dashed {
		t := CTools{Native: name}
		for _, program := range binutilsPrograms {
			file := path.Join("/usr/bin", p.GNU+"-"+program)
			t.Files = append(t.Files, CFile{Path: file, Native: file})
		}
		return t, true
	}
	// Since gcc-13 of Debian trixie and Ubuntu noble, the programs of gcc-13 and cpp-13 are in gcc-13-TRIPLET and
	// cpp-13-TRIPLET on every architecture, and the short names are empty.
	kind, rest, _ := strings.Cut(name, "-")
	version, suffix, long := strings.Cut(rest, "-")
	passes, known := map[string][]string{"cpp": {"cc1"}, "g++": {"cc1plus"}, "gcc": {"liblto_plugin.so", "lto1"}}[kind]
	if !known || !isNumber(version) || long && suffix != dashed {
		return CTools{}, false
	}
	libexec := version >= "13" && len(version) == 2
	if libexec != long {
		return CTools{}, false
	}
	dir := "/usr/lib"
	if libexec {
		dir = "/usr/libexec"
	}
	t := CTools{Native: kind + "-" + version + "-" + dashed}
	for _, pass := range passes {
		file := CFile{Path: path.Join(dir, "gcc", p.GNU, version, pass), Native: path.Join(dir, "gcc-cross", p.GNU, version, pass)}
		if strings.HasPrefix(pass, "cc1") {
			file.Prefix = path.Join("/usr/lib/gcc", p.GNU, version) + "/"
		}
		t.Files = append(t.Files, file)
	}
	return t, true
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// deb is an installed package.
type deb struct {
	name, arch, version string
	source              Source
	using               []Source
}

// debs reads a dpkg status file (deb-status is a file of deb822(5)): what is installed, in its order.
func debs(status string) []deb {
	var found []deb
	for stanza := range strings.SplitSeq(status, "\n\n") {
		fields := map[string]string{}
		lines := bufio.NewScanner(strings.NewReader(stanza))
		lines.Buffer(nil, len(stanza)+1)
		for lines.Scan() {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok && !strings.HasPrefix(name, " ") {
				fields[strings.ToLower(name)] = strings.TrimSpace(value)
			}
		}
		if !strings.HasSuffix(fields["status"], " installed") {
			continue
		}
		d := deb{name: fields["package"], arch: fields["architecture"], version: fields["version"]}
		// Source is left out where it is the package's own name and version.
		d.source = Source{d.name, d.version}
		if s := fields["source"]; s != "" {
			name, version, other := strings.Cut(s, " ")
			d.source.Name = name
			if other {
				d.source.Version = strings.Trim(version, "()")
			}
		}
		for use := range strings.SplitSeq(fields["built-using"], ",") {
			if name, version, ok := strings.Cut(strings.TrimSpace(use), " (= "); ok {
				d.using = append(d.using, Source{name, strings.TrimSuffix(version, ")")})
			}
		}
		found = append(found, d)
	}
	return found
}
