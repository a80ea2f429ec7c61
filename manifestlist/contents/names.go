// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"debug/elf"
	"strings"

	"github.com/mab-build/mab/platforms"
)

// architecture is what ELF files have in common that a name promises. Zero values promise nothing.
type architecture struct {
	machine elf.Machine
	data    elf.Data
}

func (a architecture) has(file platforms.ELF) bool {
	return file.Machine == a.machine && (a.data == elf.ELFDATANONE || file.Data == a.data)
}

// architectures are the words by which names of files and directories tell an architecture: those of GNU triplets and rustc's
// targets, GOARCH, process.arch of Node.js, os.arch of Java, .NET's runtime identifiers, Android's ABIs, and uname -m.
var architectures = map[string]architecture{
	"amd64": {machine: elf.EM_X86_64}, "x64": {machine: elf.EM_X86_64}, "linux64": {machine: elf.EM_X86_64},
	"386": {machine: elf.EM_386}, "i386": {machine: elf.EM_386}, "i486": {machine: elf.EM_386}, "i586": {machine: elf.EM_386},
	"i686": {machine: elf.EM_386}, "x86": {machine: elf.EM_386}, "ia32": {machine: elf.EM_386}, "linux32": {machine: elf.EM_386},
	"arm64": {machine: elf.EM_AARCH64}, "aarch64": {machine: elf.EM_AARCH64}, "armv8": {machine: elf.EM_AARCH64},
	"arm": {machine: elf.EM_ARM}, "armhf": {machine: elf.EM_ARM}, "armel": {machine: elf.EM_ARM}, "armeabi": {machine: elf.EM_ARM},
	"armv5": {machine: elf.EM_ARM}, "armv6": {machine: elf.EM_ARM}, "armv7": {machine: elf.EM_ARM}, "armv5te": {machine: elf.EM_ARM},
	"armv6l": {machine: elf.EM_ARM}, "armv7l": {machine: elf.EM_ARM}, "armv7a": {machine: elf.EM_ARM}, "armv7hf": {machine: elf.EM_ARM},
	"riscv64": {machine: elf.EM_RISCV}, "riscv64gc": {machine: elf.EM_RISCV}, "riscv32": {machine: elf.EM_RISCV},
	"ppc64le": {elf.EM_PPC64, elf.ELFDATA2LSB}, "ppc64el": {elf.EM_PPC64, elf.ELFDATA2LSB}, "powerpc64le": {elf.EM_PPC64, elf.ELFDATA2LSB},
	"ppc64": {elf.EM_PPC64, elf.ELFDATA2MSB}, "powerpc64": {elf.EM_PPC64, elf.ELFDATA2MSB},
	"ppc": {machine: elf.EM_PPC}, "powerpc": {machine: elf.EM_PPC},
	"s390x": {machine: elf.EM_S390}, "s390": {machine: elf.EM_S390},
	"loong64": {machine: elf.EM_LOONGARCH}, "loongarch64": {machine: elf.EM_LOONGARCH},
	"mips64el": {elf.EM_MIPS, elf.ELFDATA2LSB}, "mips64le": {elf.EM_MIPS, elf.ELFDATA2LSB}, "mipsel": {elf.EM_MIPS, elf.ELFDATA2LSB},
	"mipsle": {elf.EM_MIPS, elf.ELFDATA2LSB}, "mips64": {elf.EM_MIPS, elf.ELFDATA2MSB}, "mips": {elf.EM_MIPS, elf.ELFDATA2MSB},
	"sparc64": {machine: elf.EM_SPARCV9}, "sparc": {machine: elf.EM_SPARC}, "m68k": {machine: elf.EM_68K}, "hppa": {machine: elf.EM_PARISC},
}

// systems are the words for operating systems in such names, each with what it means.
var systems = map[string]string{
	"linux": "linux", "linux64": "linux", "linux32": "linux", "linuxmusl": "linux", "android": "android", "androideabi": "android",
	"darwin": "darwin", "macos": "darwin", "mac": "darwin", "osx": "darwin", "apple": "darwin",
	"win32": "windows", "win64": "windows", "windows": "windows", "win": "windows",
	"freebsd": "freebsd", "openbsd": "openbsd", "netbsd": "netbsd", "sunos": "sunos", "solaris": "sunos", "illumos": "sunos", "aix": "aix",
}

// ornaments are further words about a platform: C libraries, ABIs, vendors.
var ornaments = map[string]bool{
	"gnu": true, "glibc": true, "musl": true, "uclibc": true, "msvc": true, "gnueabi": true, "gnueabihf": true, "musleabi": true,
	"musleabihf": true, "gnuabi64": true, "gnuabin32": true, "gnux32": true, "gnullvm": true, "eabi": true, "eabihf": true,
	"unknown": true, "pc": true, "none": true, "v5": true, "v6": true, "v7": true, "v8": true, "v7a": true, "v8a": true,
}

// said is what the name of a file or directory tells of a platform.
type said struct {
	arch     architecture
	system   string // empty if it tells none
	rest     string // the name without the words about the platform
	named    bool   // it tells an architecture
	triplet  bool   // it begins with the architecture, and more follows: aarch64-linux-gnu
	elsewise string // by which two names are told apart that are for different platforms
}

// joined are spellings of one word with a separator in it.
var joined = strings.NewReplacer("x86_64", "amd64", "x86-64", "amd64", "aarch_64", "aarch64", "ppcle_64", "ppc64le", "s390_64", "s390x")

// tell reads a name. Of several architectures in it (a cross compiler's) the last one counts: what it makes programs for.
func tell(name string) said {
	words := strings.FieldsFunc(joined.Replace(strings.ToLower(name)), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	var s said
	var rest []string
	for i, word := range words {
		arch, isArch := architectures[word]
		system, isSystem := systems[word]
		if isArch {
			s.arch, s.named = arch, true
			s.triplet = i == 0 && len(words) > 1
		}
		if isSystem && s.system == "" {
			s.system = system
		}
		if !isArch && !isSystem && !ornaments[word] {
			rest = append(rest, word)
		}
	}
	s.rest = strings.Join(rest, " ")
	s.elsewise = s.system + "/" + s.arch.machine.String() + s.arch.data.String()
	return s
}

// libraryDirs are where Debian's multiarch keeps libraries of several architectures side by side. Which of them belong there is
// for dpkg to say (the rule multiarch).
var libraryDirs = map[string]bool{"lib": true, "usr/lib": true, "usr/local/lib": true}

// inCollection reports whether a file is one of several, each for a platform that its name, or that of a directory above it,
// tells rightly: what a package holds for whoever installs it, of which a program takes the one it can use.
func inCollection(t *tree, path string, file platforms.ELF) bool {
	at, dir := t.root, ""
	for rest := path; rest != "" && at != nil; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if s := tell(name); s.named && s.arch.has(file) && !libraryDirs[dir] {
			for sibling := range at.children {
				other := tell(sibling)
				if other.named && other.rest == s.rest && other.elsewise != s.elsewise {
					return true
				}
			}
		}
		at, dir = at.children[name], strings.TrimPrefix(dir+"/"+name, "/")
	}
	return false
}

// markTriplets returns path with an @ for each directory that is named by a GNU triplet of the file's architecture.
func markTriplets(path string, file platforms.ELF) string {
	names := strings.Split(path, "/")
	for i, name := range names[:len(names)-1] {
		if s := tell(name); s.triplet && s.arch.has(file) {
			names[i] = "@"
		}
	}
	return strings.Join(names, "/")
}
