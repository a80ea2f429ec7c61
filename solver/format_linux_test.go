// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/solver"
)

// TestIrregularStamp: who opens a pipe to read from it waits for ever.
func TestIrregularStamp(t *testing.T) {
	for rule, make := range map[string]func(path string) error{
		"a pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":      func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "version")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			_, err := solver.Handle(solver.State{Root: root}, 2, "1.2")
			var hinted interface{ Hint() string }
			if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "rm "+path) || !strings.Contains(err.Error(), "it is no regular file") {
				t.Error(err)
			}
		})
	}
}
