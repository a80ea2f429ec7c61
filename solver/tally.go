// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// tally counts the steps of a solve, without those that BuildKit only shows, such as what it exports, and keeps its warnings.
type tally struct {
	cached   map[digest.Digest]bool
	took     map[digest.Digest]time.Duration
	warnings []*Warning
}

// see counts the steps that a status tells of.
func (t *tally) see(s *client.SolveStatus) {
	if t.cached == nil {
		t.cached, t.took = map[digest.Digest]bool{}, map[digest.Digest]time.Duration{}
	}
	t.warnings = append(t.warnings, s.Warnings...)
	for _, v := range s.Vertexes {
		if v.Completed != nil && v.Error == "" && v.ProgressGroup == nil {
			t.cached[v.Digest] = v.Cached
			if v.Started != nil && !v.Cached {
				// It may begin several times, as when it is looked for in the cache first.
				t.took[v.Digest] = max(t.took[v.Digest], v.Completed.Sub(*v.Started))
			}
		}
	}
}

// times are how long the steps took that were run, by the digests that they have in the graphs which they are of.
func (t *tally) times(seen *evidence) map[digest.Digest]time.Duration {
	out := make(map[digest.Digest]time.Duration, len(t.took))
	for step, took := range t.took {
		if !t.cached[step] {
			out[seen.origin(step)] = took
		}
	}
	return out
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
