// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Inside reports whether this process was started by Start.
func Inside() bool { return os.Getenv(environ) != "" && os.Getpid() == 1 }

// Own is the mode of the sandbox that this process is in; empty outside of one.
func Own() Mode {
	if !Inside() {
		return ""
	}
	return Mode(os.Getenv(environ))
}

// OwnUser reports whether the process has a user namespace of its own. It is false outside a sandbox.
func OwnUser() bool { return Inside() && Own() != Plain }

// Enter finishes the namespaces from inside: mounts made here stay here, mounts undone outside are let go of here too, and
// /proc shows the new PID namespace. It must be called once, before anything that mounts, starts a process or asks for the
// user's id: where the ids are mapped late it starts the program again. A system that forbids it gives a *RefusedError.
func Enter() error {
	if err := passGate(); err != nil {
		return fmt.Errorf("getting user ids: %w", err)
	}
	err := settle()
	if refusal(err) || errors.Is(err, unix.EACCES) {
		program, _ := os.Executable()
		return explain(err, look(program))
	}
	return err
}

func settle() error {
	if err := detach(); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if OwnUser() {
		return sealCgroups()
	}
	return nil
}

// passGate waits until the ids of a Ranges sandbox are mapped, and executes the program again, which makes the process root in
// its namespace. It returns when that was done before, or in any other sandbox.
func passGate() error {
	if number, err := strconv.Atoi(os.Getenv(tieEnv)); err == nil {
		return errors.Join(os.Unsetenv(tieEnv), tie(number))
	}
	text := os.Getenv(gateEnv)
	number, err := strconv.Atoi(text)
	if err != nil {
		return nil //nolint:nilerr // no gate, no number
	}
	if n, err := unix.Read(number, make([]byte, 1)); n != 1 {
		return fmt.Errorf("the parent is gone: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	if err := errors.Join(os.Unsetenv(gateEnv), os.Setenv(tieEnv, text)); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

// tie binds this process to its parent again, which becoming root undid (prctl(2), PR_SET_PDEATHSIG). A parent that ended in
// between is known by the gate, whose other end only it holds. Who leads a session was detached.
func tie(gate int) error {
	defer func() { _ = unix.Close(gate) }()
	if session, err := unix.Getsid(0); err == nil && session == os.Getpid() {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(gate)}}
	if n, err := unix.Poll(fds, 0); err == nil && n > 0 && fds[0].Revents&unix.POLLHUP != 0 {
		return errors.New("the parent is gone")
	}
	return nil
}

// sealCgroups makes the control groups read-only in here. They are the one thing that processes make which does not go with
// them: runc makes a group for each step, and a step that is killed together with runc leaves it on the host. In a user
// namespace runc does without where it may not make one.
func sealCgroups() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("finding control groups: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		// Device, mount point, type (proc_pid_mounts(5)).
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "cgroup" && fields[2] != "cgroup2" {
			continue
		}
		// Another mount may hide it.
		if err := readOnly(fields[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("making control groups read-only at %q: %w", fields[1], err)
		}
	}
	return nil
}

// readOnly keeps the mount's other flags: the kernel locks those that came from a namespace with more rights
// (mount_namespaces(7)).
func readOnly(path string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); errors.Is(err, fs.ErrPermission) {
		return nil // below a directory that this user may not enter; neither may runc
	} else if err != nil {
		return err
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY)
	for _, f := range []struct{ st, ms uintptr }{
		{unix.ST_NOSUID, unix.MS_NOSUID}, {unix.ST_NODEV, unix.MS_NODEV}, {unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME}, {unix.ST_NODIRATIME, unix.MS_NODIRATIME}, {unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if uintptr(stat.Flags)&f.st != 0 {
			flags |= f.ms
		}
	}
	return unix.Mount("", path, "", flags, "")
}
