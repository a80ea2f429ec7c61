// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/nodes"
)

func TestLook(t *testing.T) {
	entries := []nodes.Entry{{Name: "dead", URL: "ssh://dead"}, {Name: "slow", URL: "ssh://slow"}, {Name: "fast", URL: "ssh://fast"}}
	takes := map[string]time.Duration{"dead": 10 * time.Second, "slow": 3 * time.Second, "fast": time.Millisecond}
	errDead := errors.New("it is dead")
	ask := func(ctx context.Context, e nodes.Entry) (nodes.Info, error) {
		select {
		case <-time.After(takes[e.Name]):
		case <-ctx.Done():
			return nodes.Info{}, ctx.Err()
		}
		if e.Name == "dead" {
			return nodes.Info{}, errDead
		}
		return nodes.Info{Running: len(e.Name)}, nil
	}
	type came struct {
		Name  string
		After time.Duration
	}
	t.Run("all at once, told as they come in, returned in the order given", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var told []came
			found := coordinator.LookBy(t.Context(), ask, entries, func(f coordinator.Found) {
				told = append(told, came{f.Node.Name, time.Since(began)})
			})
			if diff := cmp.Diff([]came{{"fast", time.Millisecond}, {"slow", 3 * time.Second}, {"dead", 10 * time.Second}}, told); diff != "" {
				t.Errorf("told: want -, got +:\n%s", diff)
			}
			if len(found) != len(entries) {
				t.Fatalf("got %+v", found)
			}
			for i, f := range found {
				e := entries[i]
				if f.Node.Entry != e || f.Took != takes[e.Name] || (f.Err != nil) != (e.Name == "dead") {
					t.Errorf("%s: got %+v", e.Name, f)
				}
			}
			if !errors.Is(found[0].Err, errDead) || found[1].Node.Info.Running != len("slow") {
				t.Errorf("got %+v", found)
			}
		})
	})
	t.Run("nobody needs to be told, and an end ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			found := coordinator.LookBy(ctx, ask, entries, nil)
			if took := time.Since(began); took != time.Second {
				t.Errorf("it took %s", took)
			}
			if !errors.Is(found[1].Err, context.DeadlineExceeded) || found[2].Err != nil {
				t.Errorf("got %+v", found)
			}
		})
	})
	t.Run("no nodes", func(t *testing.T) {
		if found := coordinator.LookBy(t.Context(), ask, nil, nil); len(found) != 0 {
			t.Errorf("got %+v", found)
		}
	})
}
