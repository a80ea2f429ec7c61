// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"time"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// Record is what one platform of one build took on one node.
type Record struct {
	Platform platforms.Platform `json:"platform"`
	// Node is the node's name, and URL its endpoint, by which it is known again.
	Node     string              `json:"node"`
	URL      string              `json:"url"`
	Strategy crossbuild.Strategy `json:"strategy"`
	// Seconds is how long it took from the node being told to its being done.
	Seconds float64 `json:"seconds"`
	// Cached is the share of its steps that came from the node's cache, from 0 to 1. Zero: none, or it is not known.
	Cached float64 `json:"cached,omitempty"`
	// When it was done.
	When time.Time `json:"when"`
}

// mostly is the share of cached steps from which on a record tells nothing about how long the steps take.
const mostly = 0.5

// History is what earlier builds of the same thing took, in the order in which they ended. The zero value knows of none. It is not
// changed by what reads it.
type History struct{ Records []Record }

// Records are what to remember of platforms that a node built at once in the time that all of them took. What each took of it is reckoned from
// its steps, by costs and by how many the node builds at once. cached is as in Record.
func Records(n nodes.Node, list []Assignment, took time.Duration, cached float64, when time.Time) []Record {
	most, sum := 0.0, 0.0
	weights := make([]float64, len(list))
	for i := range list {
		weights[i] = copySeconds
		for _, h := range list[i].Steps {
			switch h.How {
			case crossbuild.RunsNatively:
				weights[i] += stepSeconds * costs[crossbuild.Native]
			case crossbuild.RunsEmulated:
				weights[i] += stepSeconds * costs[crossbuild.Emulated]
			}
		}
		most, sum = max(most, weights[i]), sum+weights[i]
	}
	whole := max(most, sum/float64(slots(&n)))
	out := make([]Record, len(list))
	for i, a := range list {
		out[i] = Record{
			Platform: a.Platform, Node: n.Name, URL: n.URL, Strategy: a.Strategy, Seconds: took.Seconds() * weights[i] / whole, Cached: cached, When: when,
		}
	}
	return out
}

// Seconds is how long a platform takes on a node by a strategy, newer builds counting more; false if nothing was measured.
func (h History) Seconds(n nodes.Entry, p platforms.Platform, s crossbuild.Strategy) (float64, bool) {
	for _, g := range groups(h) {
		if g.url == n.URL && g.platform == p && g.strategy == s {
			return g.mean.value, true
		}
	}
	return 0, false
}

// measures reports whether the record tells how long the steps take. Nothing takes a month.
func (r Record) measures() bool { return r.Cached < mostly && r.Seconds > 0 && r.Seconds < 30*24*3600 }

// Last is the newest record of a platform: its node is the one whose cache is warm. False if there is none.
func (h History) Last(p platforms.Platform) (Record, bool) {
	for i := len(h.Records) - 1; i >= 0; i-- {
		if h.Records[i].Platform == p {
			return h.Records[i], true
		}
	}
	return Record{}, false
}

// average is an exponentially weighted mean: each value counts as much as all before it.
type average struct {
	value float64
	known bool
}

func (a *average) add(v float64) {
	if a.known {
		v = (a.value + v) / 2
	}
	a.value, a.known = v, true
}
