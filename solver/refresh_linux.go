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

const (
	refreshPoll = 50 * time.Millisecond
	refreshWait = 30 * time.Second
)

// Refresh has the running solver of a state look for emulators anew, waits until it has, and returns what it can run then. Builds
// that are under way are not disturbed. Where no solver runs it returns false.
func Refresh(ctx context.Context, s State) (Info, bool, error) {
	state, err := s.Resolve()
	if err != nil {
		return Info{}, false, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", state.Socket())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return Info{}, false, nil
	}
	if err != nil {
		return Info{}, false, fmt.Errorf("connecting to the solver: %w", err)
	}
	process, err := peer(conn.(*net.UnixConn))
	if err := errors.Join(err, conn.Close()); err != nil {
		return Info{}, false, fmt.Errorf("finding the solver's process: %w", err)
	}
	defer func() { _ = unix.Close(process) }()
	info, err := refresh(ctx, state, process)
	if err != nil {
		return Info{}, true, fmt.Errorf("telling the running solver: %w", err)
	}
	return info, true, nil
}

func refresh(ctx context.Context, state State, process int) (Info, error) {
	client, before, err := try(ctx, state)
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = client.Close() }() // Only asked.
	if before.Surveyed == "" {
		// It would take the signal for its end.
		return Info{}, &oldError{}
	}
	if err := unix.PidfdSendSignal(process, unix.SIGHUP, nil, 0); err != nil {
		return Info{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	tick := time.NewTicker(refreshPoll)
	defer tick.Stop()
	for {
		info, err := client.Info(ctx)
		if err != nil || info.Surveyed != before.Surveyed {
			return info, err
		}
		select {
		case <-ctx.Done():
			return Info{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// oldError is a solver that was started by a mab without Refresh.
type oldError struct{}

func (*oldError) Error() string { return "it is of an older mab" }

// Hint says how to go on.
func (*oldError) Hint() string { return "stop it when no build runs: mab serve --stop" }
