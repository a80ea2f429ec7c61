// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stateFormat is the layout of a state that this mab reads and writes. It goes up when an older mab could not read, or would
// spoil, what a newer one wrote.
//
//	1: the databases and the directory of the worker of BuildKit v0.33
const stateFormat = 1

// stamp says who wrote a state, and how. It is the file "version" in its root: a line "format NUMBER", which every mab there will
// ever be understands, and a line "mab VERSION"; more lines may follow. A state from before there was such a file has format 1.
type stamp struct {
	format int
	mab    string // empty: not known
}

func (s stamp) text() string { return fmt.Sprintf("format %d\nmab %s\n", s.format, s.mab) }

func (s stamp) String() string {
	return fmt.Sprintf("mab %s (format %d)", cmp.Or(s.mab, "of an unknown version"), s.format)
}

// parseStamp reads the text of the file.
func parseStamp(text string) (stamp, error) {
	first, rest, whole := strings.Cut(text, "\n")
	number, ok := strings.CutPrefix(first, "format ")
	n, err := strconv.Atoi(number)
	if !whole || !ok || err != nil || n < 0 {
		return stamp{}, errors.New("it does not begin with a line such as: format 1")
	}
	second, _, _ := strings.Cut(rest, "\n")
	name, _ := strings.CutPrefix(second, "mab ")
	return stamp{format: n, mab: name}, nil
}

// handling is what a mab does with a state that it finds.
type handling int

const (
	useState handling = iota // as it is
	setAside                 // its cache is begun anew
)

// handle decides what a mab of the stamp self does with a state that was stamped so.
func handle(found, self stamp, root string) (handling, error) {
	switch {
	case found.format > self.format:
		return 0, &newerError{found: found, self: self, root: root}
	case found.format < self.format:
		return setAside, nil
	}
	return useState, nil
}

// self is the stamp of this mab.
func (s State) self() stamp { return stamp{format: stateFormat, mab: cmp.Or(s.Version, "dev")} }

// version is the path of the file with the stamp.
func (s State) version() string { return filepath.Join(s.Root, "version") }

// stamp reads who wrote a state. One that is empty or does not exist is as if this mab had.
func (s State) stamp(self stamp) (stamp, error) {
	info, err := os.Lstat(s.version())
	if err == nil && !info.Mode().IsRegular() {
		// Whoever opens a pipe waits until another program does.
		return stamp{}, &stampError{path: s.version(), err: errors.New("it is no regular file")}
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(s.version())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(s.belongings()) == 0:
		return self, nil
	case errors.Is(err, fs.ErrNotExist):
		return stamp{format: 1}, nil
	case errors.Is(err, fs.ErrPermission):
		return stamp{}, &foreignError{err: err, root: s.Root}
	case err != nil:
		return stamp{}, fmt.Errorf("reading who wrote the solver's state: %w", err)
	}
	found, err := parseStamp(string(text))
	if err != nil {
		return stamp{}, &stampError{path: s.version(), err: err}
	}
	return found, nil
}

// belongings are what there is of the cache: what of a state has a format.
func (s State) belongings() []string {
	out := s.workers()
	for _, path := range []string{filepath.Join(s.Root, "cache.db"), filepath.Join(s.Root, "history.db"), s.settled(), s.unsettled()} {
		if _, err := os.Lstat(path); err == nil {
			out = append(out, path)
		}
	}
	return out
}

// check refuses a state that this mab must not touch, and touches nothing. For one that it will set aside it returns a note.
func (s State) check() (note string, err error) {
	self := s.self()
	found, err := s.stamp(self)
	if err != nil {
		return "", err
	}
	what, err := handle(found, self, s.Root)
	if err != nil || what == useState {
		return "", err
	}
	return fmt.Sprintf("the cache in %q was written by %s; this is %s, which begins it anew and removes the old one", s.Root, found, self), nil
}

// newerError is a state that a newer mab wrote.
type newerError struct {
	found, self stamp
	root        string
}

func (e *newerError) Error() string {
	return fmt.Sprintf("the state in %q was written by %s; this is %s", e.root, e.found, e.self)
}

// Hint says how to go on.
func (e *newerError) Hint() string {
	return "use the newer mab, or give this one a directory of its own with --root DIR"
}

// foreignError is a state that this user may not look into.
type foreignError struct {
	err  error
	root string
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("opening the solver's state: %v", e.err)
}

// Unwrap gives the cause.
func (e *foreignError) Unwrap() error { return e.err }

// Hint says how to go on.
func (e *foreignError) Hint() string {
	return fmt.Sprintf("run mab as the user whom %s belongs to, or give it a directory of its own with --root DIR", e.root)
}

// stampError is a file that does not tell who wrote a state.
type stampError struct {
	path string
	err  error
}

func (e *stampError) Error() string {
	return fmt.Sprintf("reading who wrote the solver's state: %q is damaged: %v", e.path, e.err)
}

// Unwrap gives the cause.
func (e *stampError) Unwrap() error { return e.err }

// Hint says how to go on.
func (e *stampError) Hint() string {
	return fmt.Sprintf("unless a newer mab is in use here: rm %s; else give this mab a directory of its own with --root DIR", e.path)
}
