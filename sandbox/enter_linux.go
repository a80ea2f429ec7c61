// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Inside reports whether this process was started by Start.
func Inside() bool { return os.Getenv(environ) != "" && os.Getpid() == 1 }

// OwnUser reports whether the process has a user namespace of its own. It is false outside a sandbox.
func OwnUser() bool { return Inside() && os.Getenv(environ) == mode(true) }

// Enter finishes the namespaces from inside: mounts made here stay here, mounts undone outside are let go of here too, and
// /proc shows the new PID namespace. It must be called once, before anything that mounts or starts a process.
func Enter() error {
	// Slave, not private: a private copy would keep a disk busy that the host wants to unmount.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}
