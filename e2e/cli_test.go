// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the scripts' expected output anew")

// TestScripts runs testdata/script. Beside testscript's own commands there is
//
//	mab CODE ARGUMENTS…
//
// which runs the program, and fails unless it ends with that exit code. Each script has a solver's state of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// A socket's path is short, the script's directory is not.
			root, err := os.MkdirTemp("", "mab-e2e-root-")
			if err != nil {
				return err
			}
			env.Defer(func() {
				if err := errors.Join(stopSolver(root), os.RemoveAll(root)); err != nil {
					t.Error(err)
				}
			})
			env.Setenv("MAB_ROOT", root)
			env.Setenv("MAB_NODES_FILE", "")
			env.Setenv("BUILDKIT_PROGRESS", "plain")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mab": runInScript},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, errors.New("no such condition")
		},
	})
}

// stopSolver ends the solver of a state, if one runs.
func stopSolver(root string) error {
	_, err := os.Stat(filepath.Join(root, "solver.sock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return exec.Command(mabBinary, "serve", "--stop", "--root", root).Run()
}

func runInScript(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) == 0 {
		ts.Fatalf("usage: mab CODE ARGUMENTS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(mabBinary, args[1:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}
