// SPDX-License-Identifier: Apache-2.0

package runc

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// placeError is a directory where a carried runc cannot be put, or not be executed.
type placeError struct {
	dir    string
	err    error
	noexec bool
}

func (e *placeError) Error() string {
	if e.noexec {
		return fmt.Sprintf("unpacking runc into %q: its file system is mounted noexec, so no program can be run from there", e.dir)
	}
	return fmt.Sprintf("unpacking runc into %q: %v", e.dir, e.err)
}

// Unwrap gives the cause.
func (e *placeError) Unwrap() error { return e.err }

// Hint says where else it can go.
func (e *placeError) Hint() string {
	if errors.Is(e.err, unix.ENOSPC) || errors.Is(e.err, unix.EDQUOT) {
		return "make room there, or choose a directory on another file system with --root or MAB_ROOT"
	}
	return "choose a directory on another file system with --root or MAB_ROOT"
}

// isNoexec reports whether the file system of a file is mounted noexec.
func isNoexec(path string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && stat.Flags&unix.ST_NOEXEC != 0
}

// damagedError is a program whose own copy of runc is not what was put into it.
type damagedError struct{ err error }

func (e *damagedError) Error() string {
	return "unpacking the runc that this program carries: " + e.err.Error()
}

// Unwrap gives the cause.
func (e *damagedError) Unwrap() error { return e.err }

// Hint says how to get a whole one.
func (*damagedError) Hint() string {
	return "this mab is damaged: download it again and compare it with sha256sums"
}
