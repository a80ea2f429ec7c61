// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// holder is a process that holds namespaces: process 1 of a PID namespace, with which all that runs there ends.
type holder struct {
	cmd   *exec.Cmd
	group errgroup.Group
	said  strings.Builder
}

// hold starts a process in namespaces of its own that runs a shell's script and then sleeps, and returns when the script is done. It
// is killed when this program ends.
func hold(ctx context.Context, script string, args ...string) (*holder, error) {
	// A process that ignores the signal leaves no zombies of others.
	const end = "\necho ready && exec env --ignore-signal=CHLD sleep infinity"
	h := &holder{cmd: exec.Command("sh", append([]string{"-c", "set -e\nmount --make-rprivate /\n" + script + end}, args...)...)} //nolint:noctx // it outlives ctx
	h.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, Setsid: true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.cmd.Stderr = h.cmd.Stdout
	started := make(chan error, 1)
	h.group.Go(func() error {
		// The signal comes when the thread that started the process ends, not when the program does (prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := h.cmd.Start()
		started <- err
		if err == nil {
			_, _ = h.cmd.Process.Wait() // It is killed.
		}
		return nil
	})
	if err := <-started; err != nil {
		return nil, errors.Join(err, h.group.Wait())
	}
	stop := context.AfterFunc(ctx, func() { _ = h.cmd.Process.Kill() }) // It fails only if the process has ended.
	ready := h.wait(stdout)
	if !stop() && ready == nil {
		ready = context.Cause(ctx)
	}
	if ready != nil {
		return nil, errors.Join(ready, h.close())
	}
	return h, nil
}

// wait reads until the script is done.
func (h *holder) wait(stdout io.ReadCloser) error {
	defer stdout.Close()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if lines.Text() == "ready" {
			return nil
		}
		h.said.WriteString(lines.Text() + "\n")
	}
	return fmt.Errorf("its script ended: %s", strings.TrimSpace(h.said.String()))
}

func (h *holder) pid() int { return h.cmd.Process.Pid }

// close kills all that runs in the namespaces, and returns when it is gone.
func (h *holder) close() error {
	_ = h.cmd.Process.Kill() // It fails only if the process has ended.
	return h.group.Wait()
}
