// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

func TestAcquaintances(t *testing.T) {
	pi := nodes.Entry{Name: "pi", URL: "ssh://pi"}
	dead := errors.New("no answer")
	answers := func(up float64) coordinator.Found {
		return coordinator.Found{Node: nodes.Node{Entry: pi, Info: nodes.Info{Up: up, Down: 2 * up}}}
	}
	for _, test := range []struct {
		rule    string
		met     []coordinator.Found
		timeout time.Duration // what the user asked for
		want    time.Duration
		up      float64
	}{
		{"a stranger is waited for", nil, time.Minute, time.Minute, 0},
		{"who was waited for in vain is not waited for as long", []coordinator.Found{{Node: nodes.Node{Entry: pi}, Took: time.Minute, Err: dead}}, time.Minute, 2 * time.Second, 0},
		{"but no longer than others", []coordinator.Found{{Node: nodes.Node{Entry: pi}, Took: time.Minute, Err: dead}}, time.Second, time.Second, 0},
		{"who refuses at once takes nobody's time", []coordinator.Found{{Node: nodes.Node{Entry: pi}, Took: time.Second, Err: dead}}, time.Minute, time.Minute, 0},
		{"who is back is waited for", []coordinator.Found{{Node: nodes.Node{Entry: pi}, Took: time.Minute, Err: dead}, answers(0)}, time.Minute, time.Minute, 0},
		{"a link that was measured is known", []coordinator.Found{answers(10), answers(0)}, time.Minute, time.Minute, 10},
		{"and known anew", []coordinator.Found{answers(10), answers(20)}, time.Minute, time.Minute, 20},
		{"this machine is no acquaintance", []coordinator.Found{{Node: nodes.Node{Entry: nodes.Entry{Name: "local", URL: "local"}}, Took: time.Hour, Err: dead}}, time.Minute, time.Minute, 0},
	} {
		t.Run(test.rule, func(t *testing.T) {
			state := solver.State{Root: t.TempDir()}
			for _, f := range test.met {
				coordinator.OpenAcquaintances(state).Meet(f)
			}
			again := coordinator.OpenAcquaintances(state)
			if got := again.Patience(nodes.Config{Timeout: test.timeout}, pi); got != test.want {
				t.Errorf("waits for %v, want %v", got, test.want)
			}
			if got := again.Recall(pi, nodes.Info{}); got.Up != test.up || got.Down != 2*test.up {
				t.Errorf("got %+v", got)
			}
			if files := names(t, state.Root); len(files) > 1 {
				t.Errorf("left: %q", files)
			}
		})
	}
	for _, damaged := range []string{`{"ssh://pi":{"up":1`, "null", ""} {
		t.Run("a damaged file is as none: "+damaged, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "known-nodes.json"), damaged)
			a := coordinator.OpenAcquaintances(solver.State{Root: dir})
			if got := a.Recall(pi, nodes.Info{}); got.Up != 0 {
				t.Errorf("got %+v", got)
			}
			a.Meet(answers(5))
			if got := coordinator.OpenAcquaintances(solver.State{Root: dir}).Recall(pi, nodes.Info{}); got.Up != 5 {
				t.Errorf("got %+v", got)
			}
		})
	}
	t.Run("a directory that cannot be written to changes nothing", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		coordinator.OpenAcquaintances(solver.State{Root: dir}).Meet(answers(5))
	})
}

func TestUnreachableError(t *testing.T) {
	hinted := &coordinator.LostError{Node: "pi"}
	err := coordinator.NewUnreachableError(
		coordinator.Found{Node: nodes.Node{Entry: nodes.Entry{Name: "local", URL: "local"}}, Err: errors.New("no room")},
		coordinator.Found{Node: nodes.Node{Entry: nodes.Entry{Name: "pi", URL: "ssh://pi"}}, Err: hinted},
	)
	want := "no node answers: local: no room\nno node answers: " + hinted.Error()
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	var unreachable *coordinator.UnreachableError
	if !errors.As(err, &unreachable) || !unreachable.Lost() || unreachable.Hint() != hinted.Hint() {
		t.Errorf("got %v", err)
	}
}
