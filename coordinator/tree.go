// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/mab-build/mab/solver"
)

// treePrefix begins the names of trees, which the solver's client leaves out of contexts.
const treePrefix = ".mab-part-"

// tree is a directory that a part of an output is in until all parts are there.
type tree struct {
	at, dest string
	// sole is the content of a directory that loses all other.
	sole bool
}

// addTree makes a directory for a part of an output of files, in the place of the output if there is one, where moving is renaming.
func (s *share) addTree(e *solver.Export) error {
	near := e.Dir
	if info, err := os.Stat(near); err != nil || !info.IsDir() {
		near = filepath.Dir(near)
	}
	err := os.MkdirAll(near, 0o755)
	var dir string
	if err == nil {
		dir, err = os.MkdirTemp(near, treePrefix)
	}
	if err != nil {
		return fmt.Errorf("making a directory for a part of the output: %w", err)
	}
	sole := strings.EqualFold(strings.TrimSpace(e.Attrs["mode"]), deleteMode)
	s.trees = append(s.trees, tree{at: dir, dest: e.Dir, sole: sole})
	e.Dir, e.Attrs = dir, maps.Clone(e.Attrs)
	delete(e.Attrs, "mode")
	return nil
}

// discard removes the tree. Directories of the user's may be read-only.
func (t tree) discard() error {
	if os.RemoveAll(t.at) == nil {
		return nil
	}
	_ = filepath.WalkDir(t.at, func(path string, entry fs.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(t.at)
}

// moveTrees moves what the shares hold into the directories that it is for.
func moveTrees(shares []*share) error {
	taken := map[string]bool{}
	for _, s := range shares {
		for _, t := range s.trees {
			if err := t.claim(taken); err != nil {
				return err
			}
		}
	}
	emptied := map[string]bool{}
	for _, s := range shares {
		for _, t := range s.trees {
			err := os.MkdirAll(t.dest, 0o700) // as the solver's client makes it
			if err == nil && t.sole && !emptied[t.dest] {
				err = empty(t.dest)
			}
			emptied[t.dest] = true
			if err == nil {
				err = merge(t.at, t.dest)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// claim adds the files of the tree to those that are taken. It fails if one is, as the solver does with parts that it has itself.
func (t tree) claim(taken map[string]bool) error {
	return filepath.WalkDir(t.at, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return nil // The user's directories are moved as they are.
		}
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(t.at, path)
		if err != nil {
			return err
		}
		if name = filepath.Join(t.dest, name); taken[name] {
			return &overwrittenError{name}
		}
		taken[name] = true
		return nil
	})
}

// empty removes all of a directory but trees.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), treePrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// merge moves what is in one directory into another of the same file system, in place of what has the same name there.
func merge(from, to string) error {
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		if err == nil {
			err = move(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		}
	}
	return err
}

func move(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	old, err := os.Lstat(to)
	switch {
	case err == nil && old.IsDir() && info.IsDir():
		if err := errors.Join(os.Chmod(from, 0o700), os.Chmod(to, 0o700), merge(from, to)); err != nil {
			return err
		}
		return errors.Join(os.Chmod(to, info.Mode()), os.Chtimes(to, info.ModTime(), info.ModTime()))
	case err == nil && old.IsDir() != info.IsDir():
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
	if !info.IsDir() {
		return os.Rename(from, to)
	}
	// To move a directory one must be allowed to write into it.
	return errors.Join(os.Chmod(from, 0o700), os.Rename(from, to), os.Chmod(to, info.Mode()))
}
