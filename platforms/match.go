// SPDX-License-Identifier: Apache-2.0

package platforms

import (
	"cmp"
	"slices"

	cplatforms "github.com/containerd/platforms"
)

// Covers reports whether a machine of platform p may run images of platform image, by the rules of the OCI specification as
// containerd reads them: a higher version of an architecture covers the lower ones (arm/v7 covers arm/v6, amd64/v3
// covers amd64). One architecture never covers another: that amd64 machines run 386 programs and that some arm64
// machines run arm programs is found by probing (package emulation), not from names.
func (p Platform) Covers(image Platform) bool {
	if p == image {
		return true
	}
	return p.Architecture == image.Architecture && cplatforms.Only(p.OCI()).Match(image.OCI())
}

// Closest returns the image platform that a machine of platform p runs best: p itself, else the highest version it covers.
// It returns false if p covers none of them.
func (p Platform) Closest(images []Platform) (Platform, bool) {
	var covered []Platform
	for _, image := range images {
		if p.Covers(image) {
			covered = append(covered, image)
		}
	}
	if len(covered) == 0 {
		return Platform{}, false
	}
	only := cplatforms.Only(p.OCI())
	return slices.MinFunc(covered, func(a, b Platform) int {
		switch {
		case only.Less(a.OCI(), b.OCI()):
			return -1
		case only.Less(b.OCI(), a.OCI()):
			return 1
		}
		return 0
	}), true
}

// Compare orders platforms by operating system, architecture and variant, alphabetically. Lists a user gave keep the user's
// order instead.
func Compare(a, b Platform) int {
	return cmp.Or(cmp.Compare(a.OS, b.OS), cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Variant, b.Variant))
}
