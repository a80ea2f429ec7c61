// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// port is a platform as Debian has it.
type port struct {
	platform string  // as OCI writes it
	debian   string  // Debian's name of the architecture
	triple   string  // the GNU triplet of its directories and tools
	loader   string  // the dynamic loader that programs name, without a leading slash
	release  release // where its packages come from
	kernel   string  // the kernel's name of the architecture; needed where release.uapi is set
}

// release is what differs between Debian's releases in the packaging of the C compiler.
type release struct {
	suite        string
	gcc          string // major version
	compiler     string // package of the gcc driver and collect2, without a suffix
	preprocessor string // package of cc1
	perTriple    bool   // these two end in the triplet
	exec         string // directory of gcc's own programs
	sframe       string // package of libsframe
	uapi         bool   // the kernel's headers are links to /usr/lib/linux/uapi
}

// The packages' contents are listed on https://packages.debian.org/<suite>/<arch>/<package>/filelist.
var (
	bookworm = release{
		suite: "bookworm", gcc: "12", compiler: "gcc-12", preprocessor: "cpp-12", exec: "usr/lib/gcc", sframe: "libbinutils",
	}
	trixie = release{
		suite: "trixie", gcc: "14", compiler: "gcc-14", preprocessor: "cpp-14", perTriple: true, exec: "usr/libexec/gcc", sframe: "libsframe1",
		uapi: true,
	}
)

// ports are Debian's release architectures that images are made for; names and triplets are those of
// https://wiki.debian.org/Multiarch/Tuples, loaders those of https://sourceware.org/glibc/wiki/ABIList. riscv64 became a release architecture with trixie.
var ports = []port{
	{"linux/amd64", "amd64", "x86_64-linux-gnu", "lib64/ld-linux-x86-64.so.2", bookworm, ""},
	{"linux/arm64", "arm64", "aarch64-linux-gnu", "lib/ld-linux-aarch64.so.1", bookworm, ""},
	{"linux/arm/v7", "armhf", "arm-linux-gnueabihf", "lib/ld-linux-armhf.so.3", bookworm, ""},
	{"linux/riscv64", "riscv64", "riscv64-linux-gnu", "lib/ld-linux-riscv64-lp64d.so.1", trixie, "riscv"},
	{"linux/s390x", "s390x", "s390x-linux-gnu", "lib/ld64.so.1", bookworm, ""},
	{"linux/ppc64le", "ppc64el", "powerpc64le-linux-gnu", "lib64/ld64.so.2", bookworm, ""},
}

// ociPlatform is p's platform for an index or an image's configuration.
func (p port) ociPlatform() *v1.Platform {
	parts := strings.Split(p.platform, "/")
	oci := &v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) > 2 {
		oci.Variant = parts[2]
	}
	return oci
}

// recipe is what an image is made of. Paths have no leading slash and are those of a merged /usr (see Tree).
type recipe struct {
	picks []pick
	links [][2]string // name, target
	whole []string    // packages of which everything is taken, and of all that they depend on; then there are no picks
	goSDK string      // version of Go to put into /usr/local/go, if any
	path  string      // PATH
}

// pick is a package and the patterns (see matches) of the files to take from it.
type pick struct {
	pkg  string
	keep []string
}

// goVersion is the Go of the Golang images.
const goVersion = "1.26.8"

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// recipeFor returns how the image called name is made for p; false if it is not made.
func recipeFor(name string, p port) (recipe, bool) {
	r := recipe{
		picks: []pick{{"busybox-static", []string{"usr/bin/busybox"}}},
		path:  defaultPath,
	}
	switch {
	case name == Busybox:
		return r, true
	case name == CC:
		r.picks = append(r.picks, ccPicks(p)...)
		r.links = ccLinks(p)
		return r, true
	case name == GCC && (p.platform == "linux/amd64" || p.platform == "linux/arm64"):
		return recipe{
			whole: []string{
				"apt", "base-files", "bash", "coreutils", "dash", "debian-archive-keyring", "diffutils", "dpkg", "findutils", "g++", "gcc", "grep", "gzip",
				"libc-bin", "libc6-dev", "make", "mawk", "sed", "tar",
			},
			// What alternatives(7) would link.
			links: [][2]string{{"usr/bin/awk", "mawk"}, {"usr/bin/cc", "gcc"}, {"usr/bin/c++", "g++"}},
			path:  defaultPath,
		}, true
	case (name == Golang || name == GolangCC) && (p.platform == "linux/amd64" || p.platform == "linux/arm64"):
		if name == GolangCC {
			r.picks = append(r.picks, ccPicks(p)...)
			r.links = ccLinks(p)
		}
		r.goSDK = goVersion
		r.path = "/go/bin:/usr/local/go/bin:" + defaultPath
		return r, true
	}
	return recipe{}, false
}

// binutils are the tools of the C image that come from binutils.
var binutils = []string{"ar", "as", "ld", "ld.bfd", "nm", "objcopy", "objdump", "ranlib", "readelf", "strip"}

func ccPicks(p port) []pick {
	rel := p.release
	// Package names have no underscore: x86_64's tools are in binutils-x86-64-linux-gnu.
	suffix := strings.ReplaceAll(p.triple, "_", "-")
	compiler, preprocessor := rel.compiler, rel.preprocessor
	if rel.perTriple {
		compiler, preprocessor = compiler+"-"+suffix, preprocessor+"-"+suffix
	}
	exec := path.Join(rel.exec, p.triple, rel.gcc)
	static := path.Join("usr/lib/gcc", p.triple, rel.gcc)
	lib := path.Join("usr/lib", p.triple)
	shared := []string{lib + "/*.so*"}
	tools := []string{lib + "/ldscripts/**"}
	for _, tool := range binutils {
		tools = append(tools, "usr/bin/"+p.triple+"-"+tool)
	}
	headers := []string{"usr/include/linux/**", "usr/include/asm-generic/**", "usr/include/" + p.triple + "/asm/**"}
	if rel.uapi {
		headers = append(headers, "usr/lib/linux/uapi/"+p.kernel+"/**")
	}
	picks := []pick{
		{compiler, []string{"usr/bin/" + p.triple + "-gcc-" + rel.gcc, exec + "/collect2", exec + "/liblto_plugin.so"}},
		{preprocessor, []string{exec + "/cc1"}},
		{"libgcc-" + rel.gcc + "-dev", []string{
			static + "/crt*.o", static + "/libgcc*", static + "/libatomic.a", static + "/libssp_nonshared.a", static + "/include/**",
		}},
		{"binutils-" + suffix, tools},
		// Busybox's shell prefers its own applets to the programs in PATH: its ar makes no archives.
		{"dash", []string{"usr/bin/dash"}},
		{"libc6", []string{canonical(p.loader), lib + "/*.so*"}},
		{"libc6-dev", []string{"usr/include/**", lib + "/*.o", lib + "/*.a", lib + "/*.so"}},
		{"linux-libc-dev", headers},
		{"libbinutils", shared},
	}
	if rel.sframe != "libbinutils" {
		picks = append(picks, pick{rel.sframe, shared})
	}
	for _, pkg := range []string{
		"libctf0", "libctf-nobfd0", "libgcc-s1", "libgmp10", "libisl23", "libjansson4", "libmpc3", "libmpfr6", "libzstd1", "zlib1g",
	} {
		picks = append(picks, pick{pkg, shared})
	}
	return picks
}

func ccLinks(p port) [][2]string {
	gcc := p.triple + "-gcc-" + p.release.gcc
	links := [][2]string{{"usr/bin/gcc", gcc}, {"usr/bin/cc", gcc}, {"usr/bin/sh", "dash"}}
	for _, tool := range binutils {
		links = append(links, [2]string{"usr/bin/" + tool, p.triple + "-" + tool})
	}
	return links
}

// matches reports whether a pattern covers name: a path.Match pattern, or a directory and /** for all below it.
func matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if dir, ok := strings.CutSuffix(pattern, "/**"); ok {
			if strings.HasPrefix(name, dir+"/") {
				return true
			}
			continue
		}
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}
