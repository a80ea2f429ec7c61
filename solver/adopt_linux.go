// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// asidePrefix begins the names of directories in a root that hold a cache nobody reads any more. No user calls a directory so: a root may
// be one that has other things in it.
const asidePrefix = "solver.old-"

// sweep removes what was set aside, now or before; finish ends that, and the next start goes on with it. It must be called with the
// lock held.
func sweep(ctx context.Context, state State, log *slog.Logger) (finish func()) {
	ctx, cancel := context.WithCancel(ctx)
	group := &errgroup.Group{}
	group.Go(func() error {
		if err := removeAside(ctx, state.Root); err != nil && ctx.Err() == nil {
			log.Warn("removing an old cache", "why", err)
		}
		return nil
	})
	return func() { cancel(); _ = group.Wait() }
}

// adoptAs makes a state one that this mab may write to, before anything is opened: it refuses what a newer mab than self wrote, sets aside what an older one wrote in a way that self does not read, and stamps the
// state.
func adoptAs(state State, self stamp, log *slog.Logger) error {
	found, err := state.stamp(self)
	if err != nil {
		return err
	}
	what, err := handle(found, self, state.Root)
	if err != nil {
		return err
	}
	if what == setAside {
		log.Warn("the cache is of an older mab: beginning it anew", "root", state.Root, "by", found.String())
		if err := putAside(state); err != nil {
			return err
		}
	}
	// The stamp comes last: what is interrupted before is done again.
	return state.write(self)
}

// putAside moves the cache into a directory beside it.
func putAside(state State) error {
	dir, err := os.MkdirTemp(state.Root, asidePrefix)
	for _, path := range state.belongings() {
		if err == nil {
			err = os.Rename(path, filepath.Join(dir, filepath.Base(path)))
		}
	}
	if err == nil {
		err = syncDir(state.Root)
	}
	if err != nil {
		return fmt.Errorf("setting an old cache aside: %w", err)
	}
	return nil
}

// write stamps a state unless it is stamped so already. The file is whole or not there, whatever happens to the machine.
func (s State) write(self stamp) error {
	text := self.text()
	if old, err := os.ReadFile(s.version()); err == nil && string(old) == text {
		return nil
	}
	file, err := os.OpenFile(s.version()+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing down who writes the solver's state: %w", err)
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), s.version())
	}
	if err == nil {
		err = syncDir(s.Root)
	}
	if err != nil {
		return fmt.Errorf("writing down who writes the solver's state: %w", err)
	}
	return nil
}

// removeAside removes the caches that were set aside, until ctx ends.
func removeAside(ctx context.Context, root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), asidePrefix) {
			err = errors.Join(err, removeTree(ctx, filepath.Join(root, e.Name())))
		}
	}
	return err
}

// removeTree is os.RemoveAll that can be interrupted: a cache has so many files that its removal takes minutes.
// What cannot be removed does not keep the rest.
func removeTree(ctx context.Context, dir string) error {
	// overlayfs makes directories that nobody may read.
	_ = os.Chmod(dir, 0o700)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(dir, e.Name())
		remove := os.Remove
		if e.IsDir() {
			remove = func(path string) error { return removeTree(ctx, path) }
		}
		if err := remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return failed
	}
	return os.Remove(dir)
}
