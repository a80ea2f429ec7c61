// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"

	"golang.org/x/sys/unix"
)

// detach makes every mount a slave of the outside's: mounts made here stay here, mounts undone outside are let go of here too.
// Slave, not private: a private copy would keep a disk busy that the host wants to unmount.
func detach() error {
	err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) {
		return detachChroot()
	}
	return err
}

// detachChroot is detach after a chroot(2) into a directory where nothing is mounted: the mount that holds it cannot be named from
// inside, so it stays shared with the outside, and runc finds no mount to begin at. A copy of the tree gets to be the root. Where
// it is mounted must be a slave by then, or the copy would appear outside as well: /proc, which is there in any case.
func detachChroot() error {
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/proc", "", unix.MS_SLAVE|unix.MS_REC, "") },
		func() error { return unix.Mount("/", "/proc", "", unix.MS_BIND|unix.MS_REC, "") },
		func() error { return unix.Mount("", "/proc", "", unix.MS_SLAVE|unix.MS_REC, "") },
		func() error { return unix.Chroot("/proc") },
		func() error { return unix.Chdir("/") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
