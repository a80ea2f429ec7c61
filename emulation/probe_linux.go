// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/platforms"
)

// Probe runs the Program of platform p and returns nil if it ended with ProgramStatus. The error is ErrCannotRun where neither the
// CPU nor a handler runs it; others say what went wrong with a handler. It needs no file system that allows
// execution; where the kernel gives no executable memory file it uses a file in dir ("" for the directory of temporary
// files), which it removes. A process that reaps children it did not start must not do so during the call.
func Probe(ctx context.Context, p platforms.Platform, dir string) error {
	program, ok := Program(p)
	if !ok {
		return fmt.Errorf("probing %s: %w", p, errors.ErrUnsupported)
	}
	if _, err := execute(ctx, program, dir); err != nil {
		return fmt.Errorf("probing %s: %w", p, err)
	}
	return nil
}

// ProbeUnder is Probe by an emulator that is called by its path and need not be registered: any error says what is wrong with it.
func ProbeUnder(ctx context.Context, emulator string, p platforms.Platform, dir string) error {
	program, ok := Program(p)
	if !ok {
		return fmt.Errorf("probing %s: %w", p, errors.ErrUnsupported)
	}
	path, err := temporaryFile(program, dir)
	if err != nil {
		return fmt.Errorf("probing %s: %w", p, err)
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(path)) }() // What stays is some bytes in the directory of temporary files.
	if err := run(ctx, exec.CommandContext(ctx, emulator, path)); err != nil {
		return fmt.Errorf("probing %s under %q: %w", p, emulator, err)
	}
	return nil
}

// execute runs a program of bytes, and tells the CPU time that it took.
func execute(ctx context.Context, program []byte, dir string) (time.Duration, error) {
	file, err := memoryFile(program)
	if err == nil {
		cmd := exec.CommandContext(ctx, "/proc/self/fd/3")
		cmd.ExtraFiles = []*os.File{file}
		err = run(ctx, cmd)
		_ = file.Close() // Its content has served.
		// Without /proc, or with executable memory files forbidden, the program is given another chance.
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
			return spent(cmd), err
		}
	}
	path, err := temporaryFile(program, dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(path)) }() // What stays is some bytes in the directory of temporary files.
	cmd := exec.CommandContext(ctx, path)
	err = run(ctx, cmd)
	return spent(cmd), err
}

// spent is the CPU time of a program that has run. The kernel counts it by the nanosecond, and waiting for a CPU does not count.
func spent(cmd *exec.Cmd) time.Duration {
	if cmd.ProcessState == nil {
		return 0
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// run executes a program by plain execve: with execveat and an empty path the kernel refuses handlers, for the interpreter could not
// open a file that is closed on execution (BINPRM_FLAGS_PATH_INACCESSIBLE in fs/binfmt_misc.c). As descriptor 3 of the
// child file stays open over the execution, so QEMU finds it under the same path. A memory file may be executed while open for
// writing; others may not (ETXTBSY).
func run(ctx context.Context, cmd *exec.Cmd) error {
	err := runAlone(cmd)
	if ctx.Err() != nil {
		return fmt.Errorf("the program did not end: %w", context.Cause(ctx))
	}
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) {
		if err == nil {
			return errors.New("the program ended with status 0")
		}
		// ELIBBAD and EINVAL: headers that the kernel's or an old handler's loader does not take.
		if errors.Is(err, unix.ENOEXEC) || errors.Is(err, unix.ELIBBAD) || errors.Is(err, unix.EINVAL) {
			return ErrCannotRun
		}
		return err
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Exited() && status.ExitStatus() == ProgramStatus:
		return nil
	case ok && status.Exited() && status.ExitStatus() == ProgramLacks:
		return fmt.Errorf("%w: the CPU lacks instructions", ErrCannotRun)
	}
	return fmt.Errorf("the program ended with %s", exit.ProcessState)
}

// group gives a program a process group of its own, which is killed when the program's context ends. The function that it returns
// kills what is left of the group once the program has run.
func group(cmd *exec.Cmd) (kill func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	return func() { _ = cmd.Cancel() } // Mostly nothing is left.
}

// memoryFile returns program as a memory file, positioned anywhere; the caller closes it.
func memoryFile(program []byte) (*os.File, error) {
	// Kernels before 6.3 do not know MFD_EXEC and need none; later ones may be told to forbid what does not ask for it
	// (https://docs.kernel.org/userspace-api/mfd_noexec.html).
	fd, err := unix.MemfdCreate("mab-probe", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("mab-probe", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("creating a memory file: %w", err)
	}
	file := os.NewFile(uintptr(fd), "mab-probe")
	if _, err := file.Write(program); err != nil {
		return nil, errors.Join(fmt.Errorf("writing a memory file: %w", err), file.Close())
	}
	return file, nil
}

// temporaryFile writes program into a directory of its own below dir; the caller removes that directory.
func temporaryFile(program []byte, dir string) (string, error) {
	own, err := os.MkdirTemp(dir, "mab-probe-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(own, "probe")
	// Another thread's fork may hold the file open for writing for a moment, which makes its execution fail by ETXTBSY
	// (https://go.dev/issue/22315). No fork happens while the lock is held.
	syscall.ForkLock.RLock()
	err = os.WriteFile(path, program, 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(own))
	}
	return path, nil
}
