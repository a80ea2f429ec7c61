// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

func TestPurge(t *testing.T) {
	for _, test := range []struct {
		rule   string
		others []string
		want   []string
	}{
		{"all of a state goes, the directory, too", nil, nil},
		{"what is not mab's stays", []string{"letters", "old-letters", "runcible", "versions"}, []string{"letters", "old-letters", "runcible", "versions"}},
		{"what checks have kept goes", []string{filepath.Base(solver.State{}.Checks().Dir)}, nil},
		{"what was measured and recognised goes", []string{
			filepath.Base(solver.State{}.Scores()), filepath.Base(solver.State{}.Measurements()), filepath.Base(solver.State{}.Toolchains()),
			filepath.Base(solver.State{}.StepTimes()),
		}, nil},
		{"what a solver that was killed leaves goes", []string{"near.sock", "solver.sock", "version.new"}, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			state := occupied(t, 1)
			for _, name := range test.others {
				if err := os.WriteFile(filepath.Join(state.Root, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			closed := filepath.Join(state.Root, "runc-overlayfs", "snapshots", "1", "work")
			if err := errors.Join(
				os.Mkdir(closed, 0),
				os.MkdirAll(filepath.Join(state.Root, "configs", "0123"), 0o700),
				os.WriteFile(filepath.Join(state.Root, "version"), []byte("format 1\n"), 0o600),
			); err != nil {
				t.Fatal(err)
			}
			if err := solver.Purge(t.Context(), state, false); err != nil {
				t.Fatal(err)
			}
			var left []string
			entries, err := os.ReadDir(state.Root)
			if err == nil == (test.want == nil) {
				t.Errorf("reading the directory: %v", err)
			}
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if diff := cmp.Diff(test.want, left); diff != "" {
				t.Errorf("want -, left +:\n%s", diff)
			}
			if err := solver.Purge(t.Context(), solver.State{Root: filepath.Join(state.Root, "none")}, false); err != nil {
				t.Errorf("where nothing is: %v", err)
			}
		})
	}
}

func TestPurgeSparesOthers(t *testing.T) {
	for _, test := range []struct {
		rule string
		// used is whether a solver ran there.
		used bool
		root string
		want []string
	}{
		{"a directory that no solver ever had stays as it is", false, "", []string{"claims", "tmp", "version"}},
		{"a link that somebody made to the directory stays", true, "link", []string{"letters"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			dir := t.TempDir()
			state := solver.State{Root: filepath.Join(dir, "real")}
			names := test.want
			if test.used {
				names = append(slices.Clone(names), "solver.lock", "version")
			}
			err := os.Mkdir(state.Root, 0o700)
			for _, name := range names {
				err = errors.Join(err, os.WriteFile(filepath.Join(state.Root, name), []byte("format 1\n"), 0o600))
			}
			there := state.Root
			if test.root != "" {
				state.Root = filepath.Join(dir, test.root)
				err = errors.Join(err, os.Symlink(there, state.Root))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := solver.Purge(t.Context(), state, false); err != nil {
				t.Fatal(err)
			}
			var left []string
			entries, err := os.ReadDir(state.Root)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if diff := cmp.Diff(test.want, left); diff != "" {
				t.Errorf("want -, left +:\n%s", diff)
			}
		})
	}
}

func TestLogEnd(t *testing.T) {
	state := solver.State{Root: t.TempDir()}
	if got, err := solver.LogEnd(state, 3); err != nil || got != "" {
		t.Errorf("without a log: %q, %v", got, err)
	}
	if err := os.WriteFile(state.Log(), []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for lines, want := range map[int]string{0: "", 1: "three", 2: "two\nthree", 9: "one\ntwo\nthree", -1: ""} {
		if got, err := solver.LogEnd(state, lines); err != nil || got != want {
			t.Errorf("%d lines: %q, %v; want %q", lines, got, err, want)
		}
	}
}
