// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Stop ends the running solver of a state and returns when it is gone; its cache stays. Where none runs it does nothing. Builds
// that are under way get a few seconds to end.
func Stop(ctx context.Context, s State) error {
	state, err := s.Resolve()
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", state.Socket())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("connecting to the solver: %w", err)
	}
	process, err := peer(conn.(*net.UnixConn))
	if err := errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("finding the solver's process: %w", err)
	}
	defer func() { _ = unix.Close(process) }()
	if err := unix.PidfdSendSignal(process, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stopping the solver: %w", err)
	}
	// One that hangs, or was stopped by a signal, does not end by itself.
	kill := time.AfterFunc(killAfter, func() { _ = unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0) })
	defer kill.Stop()
	return gone(ctx, process)
}

// killAfter is how long a solver has for an orderly end: more than it gives its builds.
const killAfter = 2 * stopWait

// peer opens the process that listens on the other side: the kernel knows it, so that no file has to hold its number.
func peer(conn *net.UnixConn) (pidfd int, err error) {
	cred, err := peerCredentials(conn)
	if err != nil {
		return -1, err
	}
	return unix.PidfdOpen(int(cred.Pid), 0)
}

// credentials are those of the process that listens on the other side.
func peerCredentials(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var failure error
	if err := raw.Control(func(fd uintptr) {
		cred, failure = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, failure
}

// pollMillis is how often a wait for the end of a process looks at its context.
const pollMillis = 50

// gone waits until the process has ended.
func gone(ctx context.Context, pidfd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, pollMillis)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("waiting for the solver to stop: %w", err)
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}
