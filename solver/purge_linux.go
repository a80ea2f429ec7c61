// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/sandbox"
)

// ownNames are the names of what a state has in its directories, or, where they end so, how those begin.
var ownNames = []string{
	"cache.db", "checks", "claims", "configs", "emulation.json*", "emulators", "history.db", "history.jsonl*", "links.*", "known-nodes.json",
	".known-nodes.json.*", "near.sock", "runc", "runc-*",
	"scores.json*", "settled", "solver.*", "start.lock", "steptimes.json", ".steptimes.json.*", "tmp", "toolchains.json", ".toolchains.json.*", "unsettled", "use.lock", "version", "version.new",
}

// isOwn reports whether a name in a state's directories is mab's.
func isOwn(name string) bool {
	return slices.ContainsFunc(ownNames, func(own string) bool {
		start, open := strings.CutSuffix(own, "*")
		return name == own || open && strings.HasPrefix(name, start)
	})
}

// Purge stops the solver of a state and removes all that mab keeps there, the cache above all. While a build runs, or where somebody else
// started the solver, it fails with a *UsedError, unless it is forced.
func Purge(ctx context.Context, s State, force bool) error {
	state, err := s.Resolve()
	if err != nil {
		return err
	}
	if !state.begun() {
		return nil
	}
	lock, err := lockStarts(ctx, state)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if !force {
		if err := unused(ctx, state); err != nil {
			return err
		}
	}
	if err := Stop(ctx, state); err != nil {
		return err
	}
	held, err := acquire(ctx, state)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }()
	if err := Sweep(ctx, state); err == nil || os.Geteuid() == 0 {
		return err
	}
	return sweepInside(ctx, state)
}

// begun reports whether a solver was ever started in a state. Where none was, a tmp is somebody else's.
func (s State) begun() bool {
	return slices.ContainsFunc([]string{s.lock(), s.Log(), s.start()}, func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	})
}

// UsedError is a solver that somebody needs.
type UsedError struct{ why string }

func (e *UsedError) Error() string { return "removing the solver's state: " + e.why }

// Hint says how to go on.
func (e *UsedError) Hint() string { return "wait for its end, or remove it all the same with --force" }

// unused fails if somebody needs the running solver.
func unused(ctx context.Context, state State) error {
	c, info, err := try(ctx, state)
	var wrong *wrongSolverError
	if errors.As(err, &wrong) {
		return err
	}
	if err != nil {
		return nil // none runs
	}
	defer func() { _ = c.Close() }()
	if info.Mab != "" && !info.OnDemand {
		return &UsedError{"somebody runs mab serve there"}
	}
	busy, err := c.busy(ctx)
	if busy {
		return &UsedError{"a build runs"}
	}
	return err
}

// Sweep removes what mab keeps in a state, which nobody may be using. Files of other ids only a sandbox can remove, in which this user
// has them.
func Sweep(ctx context.Context, s State) error {
	state, err := s.Resolve()
	if err != nil {
		return err
	}
	var failed error
	for _, dir := range []string{state.Root, state.Runtime} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
		for _, e := range entries {
			if !isOwn(e.Name()) {
				continue
			}
			path := filepath.Join(dir, e.Name())
			if e.IsDir() {
				err = removeTree(ctx, path)
			} else {
				err = os.Remove(path)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = errors.Join(failed, err)
			}
		}
		// What somebody else has put there stays, and so does a directory that the system made, or that is a link of somebody's.
		_ = unix.Rmdir(dir)
	}
	if failed != nil {
		return fmt.Errorf("removing the solver's state: %w", failed)
	}
	return nil
}

// sweepInside runs mab agent sweep in a sandbox.
func sweepInside(ctx context.Context, state State) error {
	// The sandbox is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = read.Close() }()
	child, err := sandbox.Start(sandbox.Config{
		Args: []string{"agent", "sweep", "--root", state.Root, "--runtime", state.Runtime}, Dir: "/", Stderr: write,
	})
	_ = write.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = child.Process.Kill() })
	defer stop()
	said, _ := io.ReadAll(read)
	if err := child.Wait(); err != nil {
		return fmt.Errorf("removing the solver's state: %w: %s", err, bytes.TrimSpace(said))
	}
	return ctx.Err()
}
