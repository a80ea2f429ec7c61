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
	// Its zero value: all.
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
	// Says are words in the output of a step that meets it. Such a fault meets few, and is told when it is met, not before. Empty: it says nothing
	// that is its own.
	Says string
	// Sources tell of it.
	Sources []string
}

// Troubles returns a copy of the table, in its order.
func Troubles() []Trouble { return slices.Clone(troubles) }

// TroubleWith returns the fault that this version of QEMU has with programs of p, if another version has it not; false if none is
// known. Faults of every version are in the table for those who read it, and would only be noise with each build.
func TroubleWith(version string, p platforms.Platform, host platforms.Platform) (Trouble, bool) {
	for _, t := range troubles {
		if t.Before != "" && t.Says == "" && t.of(p) && (t.Host == "" || t.Host == host.Architecture) && numbers(version) != nil && t.has(version) {
			return t, true
		}
	}
	return Trouble{}, false
}

// Telling returns the words of the first fault that a text tells of, as Trouble.Says has them; "" if it tells of none.
func Telling(text string) string {
	for _, t := range troubles {
		if t.Says != "" && strings.Contains(text, t.Says) {
			return t.Says
		}
	}
	return ""
}

// TroubleSaid returns the fault with programs of p that says these words, and that this version of QEMU may have. An empty version is one that
// is not known.
func TroubleSaid(words, version string, p platforms.Platform) (Trouble, bool) {
	for _, t := range troubles {
		if words != "" && t.Says == words && t.of(p) && t.has(version) {
			return t, true
		}
	}
	return Trouble{}, false
}

// Remedy is Mend, or how to get another version.
func (t Trouble) Remedy() string {
	switch {
	case t.Mend != "":
		return t.Mend
	case t.Guest == platforms.Platform{}:
		return "mab emulation install"
	}
	return "mab emulation install " + t.Guest.Architecture
}

func (t Trouble) of(p platforms.Platform) bool {
	return t.Guest == platforms.Platform{} || t.Guest.Architecture == p.Architecture
}

// has reports whether a version has the fault. One without numbers may.
func (t Trouble) has(version string) bool {
	v := numbers(version)
	return v == nil || (t.Before == "" || compareVersions(v, numbers(t.Before)) < 0) && compareVersions(v, numbers(t.From)) >= 0
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
