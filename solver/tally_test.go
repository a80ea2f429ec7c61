// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/solver"
)

func TestStepTimes(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	step := func(name string, from, to int, cached bool, failure string) *client.Vertex {
		started, completed := began.Add(time.Duration(from)*time.Second), began.Add(time.Duration(to)*time.Second)
		return &client.Vertex{Digest: digest.Digest(name), Started: &started, Completed: &completed, Cached: cached, Error: failure}
	}
	begun := step("under way", 0, 0, false, "")
	begun.Completed = nil
	got := solver.StepTimes(
		&client.SolveStatus{Vertexes: []*client.Vertex{step("looked up first", 0, 1, false, ""), begun, step("failed", 0, 1, false, "exit code: 1")}},
		&client.SolveStatus{Vertexes: []*client.Vertex{step("looked up first", 2, 7, false, ""), step("cached", 0, 1, true, "")}},
	)
	if diff := cmp.Diff(map[digest.Digest]time.Duration{"looked up first": 5 * time.Second}, got); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}
