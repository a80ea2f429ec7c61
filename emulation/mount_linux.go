// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// initialUserNamespace is the inode number of the initial user namespace (PROC_USER_INIT_INO), a constant of the kernel since 3.8.
// The map of user ids does not tell: an identity map looks like the initial namespace's.
const initialUserNamespace = "user:[4026531837]"

// MountError tells why there is no private instance.
type MountError struct {
	Dir    string
	Reason string
	Err    error // the kernel's
	hint   string
}

// Error names the directory and the reason.
func (e *MountError) Error() string {
	return fmt.Sprintf("mounting a private binfmt_misc on %q: %s: %v", e.Dir, e.Reason, e.Err)
}

// Unwrap returns the kernel's error.
func (e *MountError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *MountError) Hint() string { return e.hint }

// MountPrivate mounts on dir, which must exist, the instance of binfmt_misc that belongs to the caller's user namespace. The caller
// must be root in a user namespace of its own and own its mount namespace; in the initial user namespace the mount
// would be the host's instance, so that is refused. It is empty at first, and from then on it hides the host's handlers from
// all processes of the namespace and of those below it. It is gone with its last mount. Its error is a *MountError.
//
// Source: Linux 6.7, https://git.kernel.org/torvalds/c/21ca59b365c091d583f36ac753eaa8baf947be6f
func MountPrivate(dir string) (Instance, error) {
	ns, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return Instance{}, &MountError{dir, "the user namespace is unknown", err, "mount /proc"}
	}
	if ns == initialUserNamespace {
		return Instance{}, &MountError{dir, "this process is in the host's user namespace", unix.EPERM, "start it in a user namespace of its own"}
	}
	err = unix.Mount("binfmt_misc", dir, "binfmt_misc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil {
		return Instance{}, mountError(dir, err, kernelRelease())
	}
	return Instance{Dir: dir, Private: true}, nil
}

// MountHost returns the instance that this process and its machine use, and mounts it where it is not mounted yet. It changes no
// handler. Its error is a *HostError.
func MountHost() (Instance, error) {
	in := Instance{Dir: HostDir}
	if _, err := in.Enabled(); err == nil {
		return in, nil
	}
	err := unix.Mount("binfmt_misc", HostDir, "binfmt_misc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err == nil {
		return in, nil
	}
	hint := "as root: modprobe binfmt_misc && mount -t binfmt_misc binfmt_misc " + HostDir
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		hint = "only root can, and outside of containers: run it with sudo; builds of mab's own need no --host"
	}
	return Instance{}, &HostError{fmt.Errorf("mounting binfmt_misc on %q: %w", HostDir, err), hint}
}

func mountError(dir string, err error, release string) *MountError {
	e := &MountError{Dir: dir, Err: err}
	switch {
	case errors.Is(err, unix.ENODEV):
		e.Reason, e.hint = "this kernel has no binfmt_misc", "as root: modprobe binfmt_misc"
	case errors.Is(err, unix.EPERM) && olderThan(release, 6, 7):
		e.Reason = "Linux " + release + " knows no private instances"
		e.hint = "use Linux 6.7 or newer, or install handlers on the host: apt-get install qemu-user-static"
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		e.Reason = "the mount namespace is not this process's own, or a security module forbids it"
		e.hint = "on Ubuntu see /proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	default:
		e.Reason, e.hint = "the kernel refused", "check that the directory exists"
	}
	return e
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// olderThan compares "6.18.44-cloud" with a version. What it cannot read is not older.
func olderThan(release string, major, minor int) bool {
	first, rest, _ := strings.Cut(release, ".")
	second, _, _ := strings.Cut(rest, ".")
	if i := strings.IndexFunc(second, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		second = second[:i]
	}
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}
