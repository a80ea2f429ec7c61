// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/mab-build/mab/platforms"
)

// CTool is a program of one package of Debian's or Ubuntu's C toolchain in a root, and the package that holds the same for another CPU.
type CTool struct {
	// Package holds it in the root; Source is what that was built from.
	Package string
	Source  Source
	// Path is where the program is in the root.
	Path string
	// Native is the package with programs of the node's that write code for the root's platform, and Program this one in it.
	Native, Program string

	port  port
	major string // of gcc; empty for what is no compiler
}

// Source is a source package.
type Source struct{ Name, Version string }

// String is "name version".
func (s Source) String() string { return s.Name + " " + s.Version }

// port is how Debian writes a platform: https://wiki.debian.org/Multiarch/Tuples. GNU names its programs and is, without underscores, in the
// names of cross packages; Multiarch is the directory of its libraries and headers.
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

func portOf(p platforms.Platform) (port, bool) {
	i := slices.IndexFunc(ports, func(q port) bool { return q.Platform == p.String() })
	if i < 0 {
		return port{}, false
	}
	return ports[i], true
}

// CToolsOf finds the passes of gcc and the assembler in a root of p by the text of its /var/lib/dpkg/status, in the order of their packages.
// Nothing is found in a root of another kind or of another platform.
func CToolsOf(status string, p platforms.Platform) []CTool {
	at, ok := portOf(p)
	if !ok {
		return nil
	}
	var found []CTool
	for _, d := range debs(status) {
		if t, ok := at.tool(d.name); ok && d.arch == at.Debian {
			t.Package, t.Source = d.name, d.source
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b CTool) int { return strings.Compare(a.Package, b.Package) })
	return found
}

// Proof says whether the native program was built from the very source of t, by the stanzas of the native packages as dpkg's status has them.
// If not, the sentence says why that is not known.
func (t CTool) Proof(native string) (bool, string) {
	for _, d := range debs(native) {
		if d.name != t.Native {
			continue
		}
		sources := append(slices.Clone(d.using), d.source)
		if slices.Contains(sources, t.Source) {
			return true, ""
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

// tool is that of a package by its name. What links and what packs is not among them: a cross compiler's looks for libraries and plug-ins
// elsewhere.
func (p port) tool(name string) (CTool, bool) {
	dashed := strings.ReplaceAll(p.GNU, "_", "-")
	if name == "binutils-"+dashed {
		file := path.Join("/usr/bin", p.GNU+"-as")
		return CTool{Native: name, Path: file, Program: file, port: p}, true
	}
	// Since gcc-13 of Debian trixie and Ubuntu noble, the programs of gcc-13 and cpp-13 are in gcc-13-TRIPLET and cpp-13-TRIPLET on every
	// architecture, in /usr/libexec, and the short names are empty.
	kind, rest, _ := strings.Cut(name, "-")
	version, suffix, long := strings.Cut(rest, "-")
	pass, known := map[string]string{"cpp": "cc1", "g++": "cc1plus", "gcc": "lto1"}[kind]
	dir, isNew := "/usr/lib", version >= "13" && len(version) == 2
	if isNew {
		dir = "/usr/libexec"
	}
	if !known || version == "" || strings.Trim(version, "0123456789") != "" || long && suffix != dashed || long != isNew {
		return CTool{}, false
	}
	return CTool{
		Native: kind + "-" + version + "-" + dashed, port: p, major: version,
		Path: path.Join(dir, "gcc", p.GNU, version, pass), Program: path.Join(dir, "gcc-cross", p.GNU, version, pass),
	}, true
}

// deb is an installed package.
type deb struct {
	name, arch string
	source     Source
	using      []Source
}

// debs reads a file as dpkg's status (deb822(5)): what is installed, in its order.
func debs(status string) []deb {
	var found []deb
	for stanza := range strings.SplitSeq(status, "\n\n") {
		fields := map[string]string{}
		for line := range strings.Lines(stanza) {
			if name, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(name, " ") {
				fields[strings.ToLower(name)] = strings.TrimSpace(value)
			}
		}
		if !strings.HasSuffix(fields["status"], " installed") {
			continue
		}
		d := deb{name: fields["package"], arch: fields["architecture"]}
		// Source is left out where it is the package's own name and version.
		d.source = Source{d.name, fields["version"]}
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

// stanzaOf writes what CToolsOf reads of a tool's package.
func (t CTool) stanza() string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: %s\nSource: %s (%s)\n", t.Package, t.port.Debian, t.Source.Name, t.Source.Version)
}
