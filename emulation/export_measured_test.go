// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// ChooseOf is choose among files whose content is their path.
func ChooseOf(m Measurements, guest, host platforms.Platform, paths ...string) (at int, why string) {
	h, _ := HandlerFor(guest)
	var list []Emulator
	var digests []digest.Digest
	for _, p := range paths {
		list, digests = append(list, Emulator{Handler: h, Path: p}), append(digests, digest.FromString(p))
	}
	return m.choose(h, list, digests, host)
}

// RelativeOf is relativeTo.
func RelativeOf(s, own Speeds) float64 { return s.relativeTo(own) }
