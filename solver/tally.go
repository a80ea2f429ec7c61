// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// tally counts the steps of a solve, without those that BuildKit only shows, such as what it exports.
type tally struct{ cached map[digest.Digest]bool }

// pass counts what goes by.
func (t *tally) pass(from <-chan *client.SolveStatus, to chan<- *client.SolveStatus) {
	defer close(to)
	t.cached = map[digest.Digest]bool{}
	for s := range from {
		for _, v := range s.Vertexes {
			if v.Completed != nil && v.Error == "" && v.ProgressGroup == nil {
				t.cached[v.Digest] = v.Cached
			}
		}
		to <- s
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
