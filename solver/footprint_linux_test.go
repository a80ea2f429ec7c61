// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

// occupied makes a state with a file of so many bytes in a cache, a second name of it, a small log and an empty lock.
func occupied(t *testing.T, size int) solver.State {
	t.Helper()
	root := t.TempDir()
	layer := filepath.Join(root, "runc-overlayfs", "snapshots", "1", "fs")
	if err := errors.Join(
		os.MkdirAll(layer, 0o700),
		os.WriteFile(filepath.Join(layer, "file"), make([]byte, size), 0o600),
		os.Link(filepath.Join(layer, "file"), filepath.Join(layer, "again")),
		os.Symlink("/", filepath.Join(layer, "link")),
		os.WriteFile(filepath.Join(root, "solver.log"), []byte("x"), 0o600),
		os.WriteFile(filepath.Join(root, "solver.lock"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return solver.State{Root: root}
}

func TestFootprint(t *testing.T) {
	const size = 1 << 20
	state := occupied(t, size)
	got, err := state.Footprint(t.Context())
	if err != nil || got.Root != state.Root || got.Unreadable != 0 {
		t.Fatalf("error %v, got %+v", err, got)
	}
	var names []string
	sum := int64(0)
	for _, p := range got.Parts {
		names = append(names, p.Name)
		sum += p.Size
	}
	if diff := cmp.Diff([]string{"runc-overlayfs", "solver.log"}, names); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	// Directories take something too, on most file systems.
	if layers := got.Parts[0].Size; layers < size || layers > size+size/2 {
		t.Errorf("a file of %d bytes with two names takes %d", size, layers)
	}
	if sum != got.Total {
		t.Errorf("the parts take %d, all %d", sum, got.Total)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := state.Footprint(over); !errors.Is(err, context.Canceled) {
		t.Errorf("when interrupted: %v", err)
	}
	none, err := solver.State{Root: filepath.Join(t.TempDir(), "none")}.Footprint(t.Context())
	if err != nil || none.Total != 0 || len(none.Parts) != 0 {
		t.Errorf("error %v, no state takes %+v", err, none)
	}
}

func TestFresh(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		rule  string
		state solver.State
		want  bool
	}{
		{"no directory", solver.State{Root: filepath.Join(empty, "none")}, true},
		{"a directory without a cache", solver.State{Root: empty}, true},
		{"a cache", occupied(t, 1), false},
		{"what cannot be seen", solver.State{Root: file}, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := test.state.Fresh(); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
