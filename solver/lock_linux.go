// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const lockPoll = 10 * time.Millisecond

// lockFile takes a lock on a file, made if need be, and waits for it until ctx ends. Closing the file gives the lock back; it is
// also held by every process that inherited the file, until the last one closes it (flock(2)).
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-tick.C:
		}
	}
}

// acquire takes the lock that makes this solver the only one of its root: BuildKit's databases would wait for ever. A solver that
// is just stopping is waited for; one that answers is not.
func acquire(ctx context.Context, state State) (*os.File, error) {
	waiting, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	busy := &busyError{root: filepath.Dir(state.lock())}
	if answers(waiting, state) {
		return nil, busy
	}
	lock, err := lockFile(waiting, state.lock())
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, busy
	}
	if err != nil {
		return nil, fmt.Errorf("locking the solver's directory: %w", err)
	}
	return lock, nil
}

// answers reports whether a solver listens on the state's socket.
func answers(ctx context.Context, state State) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", state.Socket())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

type busyError struct{ root string }

func (e *busyError) Error() string {
	return fmt.Sprintf("another solver is using %q", e.root)
}

func (e *busyError) Hint() string {
	return "builds attach to a running solver by themselves; to run a second one, give it a directory of its own with --root; to end the first: mab serve --stop"
}
