// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// unsynced opens a database that is not written through to the disk with each transaction. A build that finds everything in
// the cache makes about a hundred of them, and waiting for the disk would take most of its time.
//
// What the solver was told is then safe from its own death, since the kernel has the pages, but not from that of the machine.
// Therefore a flag is raised, on disk, before the first connection is served, and lowered when all is written out, a moment
// after the last one ended. A flag that was raised under another boot of the machine means that the databases cannot be
// trusted, and the cache is begun anew; so do databases that BuildKit wrote to after that moment, under another boot (see
// settle).
func unsynced() *bolt.Options {
	return &bolt.Options{NoSync: true, FreelistType: bolt.FreelistMapType}
}

// flag is the file that says that the databases may not be on disk, and under which boot.
type flag struct {
	path string
	log  *slog.Logger
}

const bootID = "/proc/sys/kernel/random/boot_id"

// raise puts the flag on disk. If that fails, the next start after a crash may find a damaged cache.
func (f flag) raise() {
	if err := f.write(); err != nil {
		f.log.Warn("the cache may not survive a crash of the machine", "why", err)
	}
}

func (f flag) write() error {
	now, err := boot()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(now + "\n")
	return errors.Join(err, file.Sync(), file.Close(), syncDir(filepath.Dir(f.path)))
}

// lower writes everything out and takes the flag down.
func (f flag) lower() {
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		f.log.Warn("the cache may not survive a crash of the machine", "why", err)
		return
	}
	err = errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
	if err == nil {
		err = settle(State{Root: filepath.Dir(f.path)})
	}
	if err == nil {
		err = os.Remove(f.path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.Warn("the cache may not survive a crash of the machine", "why", err)
	}
}

// recover begins the cache anew if the flag was raised under another boot. It must be called with the lock held, before
// anything is opened.
func (f flag) recover(state State) error {
	then, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading whether the cache is whole: %w", err)
	}
	now, err := boot()
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(then)) == now {
		return nil
	}
	f.log.Warn("the machine went down while the solver was at work: beginning the cache anew", "root", state.Root)
	return discard(state)
}

// discard begins the cache anew. What of it cannot be removed, as it belongs to ids of another map, is out of the way.
func discard(state State) error { return putAside(state) }

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
