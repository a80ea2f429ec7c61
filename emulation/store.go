// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
)

// Store is a directory of emulators that were taken out of images. It has at most one for each handler:
//
//	sha256-<hex>/qemu-<arch>    what an image had, under the digest of its manifest for this machine
//	sha256-<hex>/image.json     what is known of them
//	bin/qemu-<arch>             a link to the one that counts
//
// A file is there whole and checked, or not at all. The zero value has none.
type Store struct{ Dir string }

// Installed is an emulator of a Store.
type Installed struct {
	// Emulator has the path under the image's digest, which changes when the emulator is replaced.
	Emulator
	// Link is the path that stays the same.
	Link string
	// Image is what the user called the image, Digest that of its manifest for this machine.
	Image  string
	Digest digest.Digest
	// Version is QEMU's.
	Version string
}

// record is image.json.
type record struct {
	Image  string        `json:"image"`
	Digest digest.Digest `json:"digest"`
	// Has are QEMU's names of all that the image has, in the table's order.
	Has []string `json:"has"`
	// Files are those that were unpacked. One that is not there any more was taken back.
	Files map[string]fileRecord `json:"files"`
}

type fileRecord struct {
	Digest  digest.Digest `json:"digest"`
	Version string        `json:"version"`
}

func (s Store) bin() string { return filepath.Join(s.Dir, "bin") }

// Link is the path under which the store has h's emulator, if it has one.
func (s Store) Link(h Handler) string { return filepath.Join(s.bin(), "qemu-"+h.QEMU) }

func (s Store) image(d digest.Digest) string {
	return filepath.Join(s.Dir, d.Algorithm().String()+"-"+d.Encoded())
}

// lookup returns the file that counts for h; "" if there is none.
func (s Store) lookup(h Handler) string {
	if s.Dir == "" {
		return ""
	}
	path, err := filepath.EvalSymlinks(s.Link(h))
	if err != nil {
		return ""
	}
	return path
}

// List returns the emulators in the order of the handlers' table. A directory that does not exist holds none.
func (s Store) List() ([]Installed, error) {
	var out []Installed
	for _, h := range handlers {
		path := s.lookup(h)
		if path == "" {
			continue
		}
		r, err := readRecord(filepath.Dir(path))
		if err != nil {
			return nil, fmt.Errorf("listing emulators: %w", err)
		}
		out = append(out, Installed{
			Emulator: Emulator{Handler: h, Path: path}, Link: s.Link(h), Image: r.Image, Digest: r.Digest, Version: r.Files[h.QEMU].Version,
		})
	}
	return out, nil
}

// Remove takes back the emulators of these handlers, and returns those that were there. A program that one of them runs goes on.
func (s Store) Remove(ctx context.Context, list []Handler) ([]Installed, error) {
	all, err := s.List()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	var out []Installed
	for _, e := range all {
		if !slices.ContainsFunc(list, func(h Handler) bool { return h.Name == e.Handler.Name }) {
			continue
		}
		if err := os.Remove(e.Link); err != nil {
			return out, errors.Join(fmt.Errorf("removing an emulator: %w", err), unlock())
		}
		out = append(out, e)
	}
	return out, errors.Join(s.prune(), unlock())
}

// lock keeps two programs from changing the store at once; it waits for the other one until ctx ends. It makes the store's directory.
func (s Store) lock(ctx context.Context) (func() error, error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of emulators: %w", err)
	}
	lock := flock.New(filepath.Join(s.Dir, "lock"))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return nil, errors.Join(fmt.Errorf("locking the directory of emulators: %w", err), lock.Close())
	}
	return lock.Close, nil
}

// activate makes path the emulator that counts for h, in one step.
func (s Store) activate(h Handler, path string) error {
	if err := os.MkdirAll(s.bin(), 0o700); err != nil {
		return err
	}
	target, err := filepath.Rel(s.bin(), path)
	if err != nil {
		return err
	}
	if old, err := os.Readlink(s.Link(h)); err == nil && old == target {
		return nil
	}
	next := s.Link(h) + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, s.Link(h))
}

// prune removes every file that no link names, and what an install that was killed left.
func (s Store) prune() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return fmt.Errorf("tidying the directory of emulators: %w", err)
	}
	used := map[string]bool{}
	for _, h := range handlers {
		used[s.lookup(h)] = true
	}
	var failures []error
	for _, entry := range entries {
		dir := filepath.Join(s.Dir, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), temporary):
			failures = append(failures, os.RemoveAll(dir))
		case entry.IsDir() && entry.Name() != "bin":
			failures = append(failures, pruneImage(dir, used))
		}
	}
	_ = os.Remove(s.bin()) // It stays if there is a link in it.
	return errors.Join(failures...)
}

func pruneImage(dir string, used map[string]bool) error {
	// What links name are paths without links in them.
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(real, "qemu-*"))
	if err != nil {
		return err
	}
	kept := 0
	for _, file := range files {
		if used[file] {
			kept++
		} else if err := os.Remove(file); err != nil {
			return err
		}
	}
	if kept > 0 {
		return nil
	}
	return os.RemoveAll(dir)
}

func readRecord(dir string) (record, error) {
	var r record
	text, err := os.ReadFile(filepath.Join(dir, "image.json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("reading %q: %w", filepath.Join(dir, "image.json"), err)
	}
	return r, nil
}

func (r record) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	next := filepath.Join(dir, "image.json.new")
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, "image.json"))
}
