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

// Seconds is how long a platform takes on a node by a strategy, newer builds counting more; false if nothing was measured.
func (h History) Seconds(n nodes.Entry, p platforms.Platform, s crossbuild.Strategy) (float64, bool) {
	var mean average
	for _, r := range h.Records {
		if r.URL == n.URL && r.Platform == p && r.Strategy == s && r.measures() {
			mean.add(r.Seconds)
		}
	}
	return mean.value, mean.known
}

// measures reports whether the record tells how long the steps take.
func (r Record) measures() bool { return r.Cached < mostly && r.Seconds > 0 }

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
