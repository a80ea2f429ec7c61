// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"testing"

	"google.golang.org/grpc/stats"

	"github.com/mab-build/mab/solver"
)

func TestSolvesAreCounted(t *testing.T) {
	s := &solver.Solves{}
	build := s.TagRPC(t.Context(), &stats.RPCTagInfo{FullMethodName: "/moby.buildkit.v1.Control/Solve"})
	question := s.TagRPC(t.Context(), &stats.RPCTagInfo{FullMethodName: "/moby.buildkit.v1.Control/ListWorkers"})
	check := func(want int64) {
		t.Helper()
		if got := s.Count(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	s.HandleRPC(question, &stats.Begin{})
	check(0)
	s.HandleRPC(build, &stats.Begin{})
	s.HandleRPC(build, &stats.Begin{})
	s.HandleRPC(build, &stats.InPayload{})
	check(2)
	s.HandleRPC(question, &stats.End{})
	s.HandleRPC(build, &stats.End{})
	check(1)
}

func TestRefreshWithoutSolver(t *testing.T) {
	if _, running, err := solver.Refresh(t.Context(), solver.State{Root: t.TempDir()}); running || err != nil {
		t.Errorf("%v, %v", running, err)
	}
}
