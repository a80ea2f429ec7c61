// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/emulation"
)

func TestMountErrors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		err     error
		release string
		want    string
		hint    string
	}{
		{"no module", unix.ENODEV, "6.18.44", "this kernel has no binfmt_misc: no such device", "modprobe"},
		{"old kernel", unix.EPERM, "6.6.30-generic", "Linux 6.6.30-generic knows no private instances: operation not permitted", "6.7"},
		{"older kernel", unix.EPERM, "5.15.0-105-generic", "Linux 5.15.0-105-generic knows no private instances: operation not permitted", "6.7"},
		{"first kernel that can", unix.EPERM, "6.7.0", "the mount namespace is not this process's own, or a security module forbids it: operation not permitted", "apparmor"},
		{"two digits are more than one", unix.EPERM, "6.10-rc1", "the mount namespace is not this process's own, or a security module forbids it: operation not permitted", "apparmor"},
		{"release candidate", unix.EPERM, "6.6-rc1", "Linux 6.6-rc1 knows no private instances: operation not permitted", "6.7"},
		{"unreadable release", unix.EACCES, "", "the mount namespace is not this process's own, or a security module forbids it: permission denied", "apparmor"},
		{"no directory", unix.ENOENT, "6.18.44", "the kernel refused: no such file or directory", "directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := emulation.NewMountError(tt.err, tt.release)
			if diff := cmp.Diff(`mounting a private binfmt_misc on "/run/binfmt": `+tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(err.Hint(), tt.hint) || !errors.Is(err, tt.err) {
				t.Errorf("hint %q", err.Hint())
			}
		})
	}
}
