// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// tally counts the steps of a solve, without those that BuildKit only shows, such as what it exports, and keeps its warnings.
type tally struct {
	cached   map[digest.Digest]bool
	warnings []*Warning
}

// see counts the steps that a status tells of.
func (t *tally) see(s *client.SolveStatus) {
	if t.cached == nil {
		t.cached = map[digest.Digest]bool{}
	}
	t.warnings = append(t.warnings, s.Warnings...)
	for _, v := range s.Vertexes {
		if v.Completed != nil && v.Error == "" && v.ProgressGroup == nil {
			t.cached[v.Digest] = v.Cached
		}
	}
}

// counts are how many steps were done, and how many of them came from the cache.
func (t *tally) counts() (steps, cached int) {
	for _, c := range t.cached {
		if c {
			cached++
		}
	}
	return len(t.cached), cached
}
