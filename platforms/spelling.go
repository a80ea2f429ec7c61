// SPDX-License-Identifier: Apache-2.0

package platforms

import (
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// systems are the operating systems of images, by spelling: the values of GOOS, which the OCI image index specification
// prescribes, and macos, which containerd reads too.
var systems = map[string]string{
	"aix": "aix", "android": "android", "darwin": "darwin", "dragonfly": "dragonfly", "freebsd": "freebsd",
	"illumos": "illumos", "ios": "ios", "js": "js", "linux": "linux", "macos": "darwin", "netbsd": "netbsd",
	"openbsd": "openbsd", "plan9": "plan9", "solaris": "solaris", "wasip1": "wasip1", "wasi": "wasi", "windows": "windows",
}

type spelling struct{ arch, variant string }

// spellings are the architectures by the names users know them by. Sources: GOARCH (which the OCI specification
// prescribes); containerd/platforms for armhf, armel (which is arm/v6 there, unlike Debian's own v5), aarch64, x86_64,
// i386; `uname -m` for armv7l and its kin; Debian for ppc64el, mips64el, mipsel; the prefixes of the official images on
// Docker Hub for arm32v7 and arm64v8; the x86-64 psABI for the levels x86-64-v2 and up.
var spellings = map[string]spelling{
	"amd64": {"amd64", ""}, "x86_64": {"amd64", ""}, "x86-64": {"amd64", ""}, "x64": {"amd64", ""},
	"x86-64-v1": {"amd64", ""}, "x86-64-v2": {"amd64", "v2"}, "x86-64-v3": {"amd64", "v3"}, "x86-64-v4": {"amd64", "v4"},
	"386": {"386", ""}, "i386": {"386", ""}, "i486": {"386", ""}, "i586": {"386", ""}, "i686": {"386", ""}, "x86": {"386", ""},
	"arm64": {"arm64", ""}, "aarch64": {"arm64", ""}, "arm64v8": {"arm64", ""}, "armv8": {"arm64", ""},
	"arm": {"arm", ""}, "armhf": {"arm", "v7"}, "armel": {"arm", "v6"}, "armv8l": {"arm", "v8"},
	"armv7": {"arm", "v7"}, "armv7l": {"arm", "v7"}, "armv7hf": {"arm", "v7"}, "arm32v7": {"arm", "v7"},
	"armv6": {"arm", "v6"}, "armv6l": {"arm", "v6"}, "armv6hf": {"arm", "v6"}, "arm32v6": {"arm", "v6"},
	"armv5": {"arm", "v5"}, "armv5l": {"arm", "v5"}, "armv5tel": {"arm", "v5"}, "armv5tejl": {"arm", "v5"}, "arm32v5": {"arm", "v5"},
	"riscv64": {"riscv64", ""}, "riscv": {"riscv", ""}, "s390x": {"s390x", ""},
	"ppc64le": {"ppc64le", ""}, "ppc64el": {"ppc64le", ""}, "powerpc64le": {"ppc64le", ""},
	"ppc64": {"ppc64", ""}, "powerpc64": {"ppc64", ""}, "ppc": {"ppc", ""},
	"loong64": {"loong64", ""}, "loongarch64": {"loong64", ""},
	"mips64le": {"mips64le", ""}, "mips64el": {"mips64le", ""}, "mips64": {"mips64", ""},
	"mipsle": {"mipsle", ""}, "mipsel": {"mipsle", ""}, "mips": {"mips", ""},
	"sparc64": {"sparc64", ""}, "wasm": {"wasm", ""},
}

// variants are those an architecture may carry in normal form. Sources: the table "Platform Variants" of the OCI image
// index specification and the values of GOARM, GOARM64, GOAMD64, GOPPC64, GORISCV64 it refers to; arm/v5 is Docker's.
var variants = map[string][]string{
	"amd64": {"v2", "v3", "v4"},
	"arm":   {"v5", "v6", "v7", "v8"},
	"arm64": {
		"v8.1", "v8.2", "v8.3", "v8.4", "v8.5", "v8.6", "v8.7", "v8.8", "v8.9",
		"v9", "v9.1", "v9.2", "v9.3", "v9.4", "v9.5", "v9.6", "v9.7",
	},
	"ppc64":   {"power8", "power9", "power10"},
	"ppc64le": {"power8", "power9", "power10"},
	"riscv64": {"rva20u64", "rva22u64", "rva23u64"},
}

func variantHint(os, arch string) string {
	known := variants[arch]
	if len(known) == 0 {
		return arch + " has no variants; write " + os + "/" + arch
	}
	return arch + " has the variants " + strings.Join(known, ", ")
}

func listHint() string {
	names := make([]string, len(elfTable))
	for i, row := range elfTable {
		names[i] = row.platform.String()
	}
	return "platforms are " + strings.Join(names, ", ")
}

// nearestHint proposes the known spelling that is at most two edits away, normal forms first, else lists the platforms.
func nearestHint(s string) string {
	var candidates []string
	for _, row := range elfTable {
		p := row.platform
		candidates = append(candidates, p.Architecture, p.OS+"/"+p.Architecture, p.String())
	}
	candidates = append(candidates, slices.Sorted(maps.Keys(spellings))...)
	best, distance := "", 3
	for _, c := range candidates {
		if d := levenshtein.Distance(s, c, nil); d < distance && d < len(s) {
			best, distance = c, d
		}
	}
	if best == "" {
		return listHint()
	}
	return "did you mean " + best + "?"
}
