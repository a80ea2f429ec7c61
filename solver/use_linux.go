// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// use is a client's share of a state's solver: as long as one is held, nobody stops that solver to start another. The kernel takes it
// back from a client that is killed.
type use struct{ file *os.File }

// share waits until nobody replaces the solver, and holds it. Where the state has no directory yet there is nothing to be held.
func share(ctx context.Context, state State) (*use, error) {
	f, err := os.OpenFile(state.use(), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return &use{}, nil
	}
	if err != nil {
		return nil, err
	}
	u := &use{f}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := u.lock(unix.LOCK_SH)
		if err == nil {
			return u, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-tick.C:
		}
	}
}

func (u *use) lock(how int) error {
	for {
		err := unix.Flock(int(u.file.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// alone reports whether nobody else holds the solver, and lets nobody else from then on until Close or share.
func (u *use) alone() bool { return u.file != nil && u.lock(unix.LOCK_EX) == nil }

// shared lets others hold the solver, too.
func (u *use) shared() error {
	if u.file == nil {
		return nil
	}
	return u.lock(unix.LOCK_SH)
}

// Close lets go of the solver.
func (u *use) Close() error {
	if u == nil || u.file == nil {
		return nil
	}
	return u.file.Close()
}
