// SPDX-License-Identifier: Apache-2.0

package emulation

// NewMountError classifies an error of mount(2) on a kernel of this release.
func NewMountError(err error, release string) *MountError {
	return mountError("/run/binfmt", err, release)
}

// ScoreOf is score.
var ScoreOf = score
