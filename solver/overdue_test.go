// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/solver"
)

// heard is what a solver tells of a step: + began, - ended, = it was in the cache.
func heard(words string) *client.SolveStatus {
	out, now := &client.SolveStatus{}, time.Now()
	for word := range strings.FieldsSeq(words) {
		v := &client.Vertex{Digest: digest.FromString(word[1:])}
		switch word[0] {
		case '+':
			v.Started = &now
		case '-', '=':
			v.Started, v.Completed, v.Cached = &now, &now, word[0] == '='
		}
		out.Vertexes = append(out.Vertexes, v)
	}
	return out
}

// TestOverdueSteps limits slow to 10 s and slower to 20, and hears of steps once a second.
func TestOverdueSteps(t *testing.T) {
	limit := func(step digest.Digest) time.Duration {
		return map[digest.Digest]time.Duration{digest.FromString("slow"): 10 * time.Second, digest.FromString("slower"): 20 * time.Second}[step]
	}
	for _, test := range []struct {
		rule  string
		heard map[int]string // by the second
		want  string
	}{
		{"nothing was heard", nil, "goes on"},
		{"a step that goes on", map[int]string{1: "+slow"}, "slow was stopped after 10s, at 11"},
		{"a step that ends in time", map[int]string{1: "+slow", 10: "-slow"}, "goes on"},
		{"a step of which nothing is said", map[int]string{1: "+native"}, "goes on"},
		{"a step that is known and has not begun", map[int]string{1: "?slow"}, "goes on"},
		{"a step that was in the cache", map[int]string{1: "=slow"}, "goes on"},
		{"looking for a step in the cache is none of its time", map[int]string{1: "+slow", 5: "-slow", 9: "+slow"}, "slow was stopped after 10s, at 19"},
		{"a step of which is told again", map[int]string{1: "+slow", 5: "+slow"}, "slow was stopped after 10s, at 11"},
		{"each has its own time", map[int]string{1: "+slower +native", 12: "+slow", 13: "-native"}, "slower was stopped after 20s, at 21"},
		{"the first is the one", map[int]string{1: "+slower", 5: "+slow"}, "slow was stopped after 10s, at 15"},
		{"a solve that has ended", map[int]string{1: "+slow", 5: "end"}, "goes on"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := solver.WatchSteps(t.Context(), limit)
				got := "goes on"
				for second := range 60 {
					switch words := test.heard[second]; {
					case words == "end":
						w.Stop()
					case words != "":
						w.See(heard(words))
					}
					synctest.Wait()
					if f := w.Failure(); f != nil && w.Ended() {
						for _, name := range []string{"slow", "slower"} {
							if f.Step == digest.FromString(name) {
								limit, _ := f.Overdue()
								got = fmt.Sprintf("%s was stopped after %v, at %d", name, limit, second)
							}
						}
						break
					}
					time.Sleep(time.Second) //nolint:forbidigo // of the test's own time
				}
				w.Stop()
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("want -, got +:\n%s", diff)
				}
			})
		})
	}
}

func TestOverdueFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := solver.WatchSteps(t.Context(), func(digest.Digest) time.Duration { return time.Minute })
		w.See(heard("+a"))
		<-w.Done()
		f := w.Failure()
		if limit, ok := f.Overdue(); !ok || limit != time.Minute {
			t.Errorf("%v, %v", limit, ok)
		}
		if f.Error() != "it was stopped after 1m0s" || !strings.Contains(f.Hint(), "--emulated-timeout") {
			t.Errorf("%s; %s", f, f.Hint())
		}
		if got := kinds(f); got != "" {
			t.Errorf("it is also %s", got)
		}
		w.Stop()
	})
	t.Run("no other failure is one", func(t *testing.T) {
		f := solver.Witnessed{}.Failure(errors.New("exit code: 1"))
		if limit, ok := f.Overdue(); ok || limit != 0 {
			t.Errorf("%v, %v", limit, ok)
		}
	})
	t.Run("what the user ends was not overdue", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			w := solver.WatchSteps(ctx, func(digest.Digest) time.Duration { return time.Minute })
			w.See(heard("+a"))
			cancel()
			if f := w.Failure(); f != nil {
				t.Error(f)
			}
			w.Stop()
		})
	})
	t.Run("without a limit nothing is watched", func(t *testing.T) {
		w := solver.WatchSteps(t.Context(), nil)
		w.See(heard("+a"))
		w.Stop()
		if w.Ended() {
			t.Error("the solve was ended")
		}
	})
}
