// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, test := range []struct {
		rule        string
		state, want solver.State
	}{
		{"both given", solver.State{Root: "/a", Runtime: "/b"}, solver.State{Root: "/a", Runtime: "/b"}},
		{"the socket goes with a root that is given", solver.State{Root: "/a"}, solver.State{Root: "/a", Runtime: "/a"}},
		{"paths are made absolute", solver.State{Root: "a", Runtime: "../b"}, solver.State{Root: dir + "/a", Runtime: filepath.Dir(dir) + "/b"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := test.state.Resolve()
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("error %v; something was made: %v", err, entries)
	}
}

func TestSocketPathLimit(t *testing.T) {
	const name = "/solver.sock"
	longest := "/" + strings.Repeat("d", 107-len(name)-1)
	if _, err := (solver.State{Root: "/a", Runtime: longest}).Resolve(); err != nil {
		t.Errorf("a path of %d bytes: %v", len(longest+name), err)
	}
	_, err := solver.State{Root: "/a", Runtime: longest + "d"}.Resolve()
	var hinted interface{ Hint() string }
	want := fmt.Sprintf("the solver's socket %q: a socket's path has at most 107 bytes, this one 108", longest+"d"+name)
	if err == nil || err.Error() != want || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "MAB_RUNTIME_DIR") {
		t.Errorf("got %v, want %s", err, want)
	}
	// A root may be as long as it likes.
	if _, err := (solver.State{Root: longest + longest, Runtime: "/b"}).Resolve(); err != nil {
		t.Error(err)
	}
}

func TestLogTail(t *testing.T) {
	lines := func(from, to int) string {
		var list []string
		for i := from; i <= to; i++ {
			list = append(list, fmt.Sprint("line ", i))
		}
		return strings.Join(list, "\n")
	}
	for _, test := range []struct{ rule, log, want string }{
		{"an empty log", "", ""},
		{"a short one", "a\nb\n", "a\nb"},
		{"a line under way", "a\nb", "a\nb"},
		{"of a long one the end", lines(1, 20) + "\n", lines(9, 20)},
		{"of a very long one, too", strings.Repeat("x", 1<<20) + "\n" + lines(1, 20) + "\n", lines(9, 20)},
		{"of lines without end the last bytes", strings.Repeat("x", 8<<10) + strings.Repeat("y", 8<<10), strings.Repeat("y", 8<<10)},
	} {
		t.Run(test.rule, func(t *testing.T) {
			state := solver.State{Root: t.TempDir()}
			if err := os.WriteFile(state.Log(), []byte(test.log), 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, solver.LogTail(state)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
	if got := solver.LogTail(solver.State{Root: t.TempDir()}); got != "" {
		t.Errorf("where no log is: %q", got)
	}
}
