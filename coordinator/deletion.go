// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mab-build/mab/solver"
)

// deleteMode is BuildKit's mode of an output of files that removes all others.
const deleteMode = "delete"

// deletes reports whether an output of files removes what else is in its directory, as BuildKit's client reads the setting.
func (o *Output) deletes() bool {
	return o.Type == outputLocal && strings.EqualFold(strings.TrimSpace(o.Attrs["mode"]), deleteMode)
}

// checkDelete refuses to remove files outside of the current directory, and in itself, as docker buildx does.
func (o *Output) checkDelete(allowed []string) error {
	if !o.deletes() || slices.Contains(allowed, solver.LocalDelete) {
		return nil
	}
	here, err := filepath.Abs(".")
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	if err != nil {
		return fmt.Errorf("finding the current directory: %w", err)
	}
	dest, err := resolved(o.Dest)
	if err != nil {
		return fmt.Errorf("writing to %q: %w", o.Dest, err)
	}
	if below, err := filepath.Rel(here, dest); err == nil && below != "." && filepath.IsLocal(below) {
		return nil
	}
	return &deleteError{o.Dest}
}

// resolved is an absolute path without links, of which the end need not be there.
func resolved(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	found, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path {
		return found, err
	}
	dir, err := resolved(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// deleteError is an output that would remove files where the user may not expect it.
type deleteError struct{ dest string }

func (e *deleteError) Error() string {
	return fmt.Sprintf("understanding --output: mode=delete would remove everything else in %q, which is not below the current directory", e.dest)
}

// Hint says how to allow it.
func (e *deleteError) Hint() string {
	return "if that is meant, allow it: --allow " + solver.LocalDelete
}

// Usage marks the error as the user's, for the exit code.
func (e *deleteError) Usage() bool { return true }
