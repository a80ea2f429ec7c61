// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/mab-build/mab/platforms"
)

// Trouble is a known fault of QEMU's with programs of one platform.
type Trouble struct {
	Guest platforms.Platform
	// Host is the architecture of the machines that have it; "" means all.
	Host string
	// From is the first version of QEMU with the fault and Before the first without it. An empty From means all before; an empty
	// Before, that no version is known to be without it.
	From, Before string
	// What happens, as what comes after "QEMU 1.2.3:".
	What string
	// Mend says how to do without it. Empty: with another version, such as DefaultImage has.
	Mend string
	// Sources tell of it.
	Sources []string
}

// troubles are those that somebody met and described, each with its source. Distributions mend some of them in versions of the same
// number, which cannot be told from here.
var troubles = []Trouble{
	{
		Guest: platforms.MustParse("arm64"), Before: "5.0",
		What:    "ldconfig of Debian 11 and newer ends with a segmentation fault, so that libc-bin cannot be installed",
		Sources: []string{"https://github.com/moby/moby/issues/43039", "https://bugs.launchpad.net/qemu/+bug/1749393"},
	},
	{
		Guest: platforms.MustParse("arm64"), From: "5.1", Before: "6.0",
		What:    "programs end with a segmentation fault at their start now and then",
		Sources: []string{"https://github.com/docker/buildx/issues/542", "https://github.com/go-debos/debos/pull/261"},
	},
	{
		Guest: platforms.MustParse("arm64"), From: "9.2.0", Before: "9.2.2",
		What:    "ldconfig of Debian 11 and Ubuntu 22.04 ends with a segmentation fault, so that libc-bin cannot be installed",
		Sources: []string{"https://github.com/tonistiigi/binfmt/issues/240", "https://gitlab.com/qemu-project/qemu/-/issues/1913"},
	},
	{
		Guest: platforms.MustParse("arm/v7"),
		What:  "npm of Node.js 20 and newer hangs",
		Mend:  "run it in a stage FROM --platform=$BUILDPLATFORM, or on a machine that runs arm",
		Sources: []string{
			"https://github.com/nodejs/docker-node/issues/1946", "https://github.com/nodejs/docker-node/issues/2077",
			"https://gitlab.com/qemu-project/qemu/-/issues/1729",
		},
	},
	{
		Guest: platforms.MustParse("amd64"), Host: "arm64",
		What: "programs made by Go before 1.25.4 end with a fatal error: lfstack.push or taggedPointerPack",
		Mend: "build Go programs in a stage FROM --platform=$BUILDPLATFORM, or with a newer Go",
		Sources: []string{
			"https://github.com/golang/go/issues/69255", "https://github.com/editorconfig-checker/editorconfig-checker/issues/613",
		},
	},
}

// Troubles returns a copy of the table, in its order.
func Troubles() []Trouble { return slices.Clone(troubles) }

// TroubleWith returns the fault that this version of QEMU has with programs of p, if another version has it not; false if none is
// known. Faults of every version are in the table for those who read it, and would only be noise with each build.
func TroubleWith(version string, p platforms.Platform, host platforms.Platform) (Trouble, bool) {
	for _, t := range troubles {
		if t.Before == "" || t.Guest.Architecture != p.Architecture || t.Host != "" && t.Host != host.Architecture {
			continue
		}
		if v := numbers(version); v != nil && compareVersions(v, numbers(t.Before)) < 0 && compareVersions(v, numbers(t.From)) >= 0 {
			return t, true
		}
	}
	return Trouble{}, false
}

// numbers reads the beginning of a version, as of 9.2.0-rc1; nil if it begins with no number.
func numbers(version string) []int {
	var out []int
	for part := range strings.SplitSeq(version, ".") {
		digits := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if digits >= 0 {
			part = part[:digits]
		}
		n, err := strconv.Atoi(part)
		if err != nil {
			return out
		}
		out = append(out, n)
		if digits >= 0 {
			return out
		}
	}
	return out
}

// compareVersions takes numbers that are missing at the end for zero.
func compareVersions(a, b []int) int {
	at := func(list []int, i int) int {
		if i < len(list) {
			return list[i]
		}
		return 0
	}
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(at(a, i), at(b, i)); c != 0 {
			return c
		}
	}
	return 0
}
