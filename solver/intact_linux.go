// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The databases of a state. Those of the worker belong together: each names things that only the others know.
var (
	rootDatabases   = []string{"cache.db", "history.db"}
	workerDatabases = []string{"containerdmeta.db", "metadata_v2.db", filepath.Join("snapshots", "metadata.db")}
)

// heal looks whether the databases are whole, unless they are just as the last solver left them, and removes what is not, with
// what depends on it. BuildKit would stop at a damaged one, at the start or in the middle of a build. It must be called with the
// lock held, before anything is opened.
func heal(state State, log *slog.Logger) error {
	settled, err := os.ReadFile(state.settled())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading whether the cache is whole: %w", err)
	}
	then, databases, _ := strings.Cut(string(settled), "\n")
	if err == nil && databases == fingerprint(state) {
		return nil
	}
	if now, err := boot(); err != nil {
		return err
	} else if then != "" && then != now {
		log.Warn("the machine went down before the cache was written out: beginning it anew", "root", state.Root)
		return discard(state)
	}
	for _, name := range rootDatabases {
		path := filepath.Join(state.Root, name)
		if err := whole(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("removing a damaged database", "path", path, "why", err)
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("removing a damaged database: %w", err)
			}
		}
	}
	for _, dir := range state.workers() {
		for _, name := range workerDatabases {
			if err := whole(filepath.Join(dir, name)); err != nil {
				log.Warn("the cache is damaged: beginning it anew", "path", filepath.Join(dir, name), "why", err)
				return discard(state)
			}
		}
	}
	return nil
}

// whole reads a database from end to end. What a torn file does to its reader, from a fault on its last pages to a failed
// assertion, becomes an error.
func whole(path string) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reading %q: %v", path, r)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bolt.Tx) error {
		if info.Size() < tx.Size() {
			return fmt.Errorf("%d bytes of %d are left", info.Size(), tx.Size())
		}
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error { return walk(b) })
	})
	return errors.Join(err, db.Close())
}

func walk(b *bolt.Bucket) error {
	return b.ForEach(func(name, value []byte) error {
		if value == nil {
			return walk(b.Bucket(name))
		}
		return nil
	})
}

// settle writes down the databases as they are, and under which boot, when everything is on disk.
func settle(state State) error {
	now, err := boot()
	if err != nil {
		return err
	}
	if err := os.WriteFile(state.settled(), []byte(now+"\n"+fingerprint(state)), 0o600); err != nil {
		return fmt.Errorf("writing down the state of the cache: %w", err)
	}
	return nil
}

func boot() (string, error) {
	id, err := os.ReadFile(bootID)
	if err != nil {
		return "", fmt.Errorf("reading the machine's boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// fingerprint tells the databases as they are: names, sizes, times.
func fingerprint(state State) string {
	paths := make([]string, 0, len(rootDatabases))
	for _, name := range rootDatabases {
		paths = append(paths, filepath.Join(state.Root, name))
	}
	for _, dir := range state.workers() {
		for _, name := range workerDatabases {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	var out strings.Builder
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&out, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		}
	}
	return out.String()
}
