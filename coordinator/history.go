// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"maps"
	"time"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// Record is what one platform of one build, or a portion of it, took on one node.
type Record struct {
	// Target is the name of the request among others that were built together. Empty: it is known by the key of the history.
	Target   string             `json:"-"`
	Platform platforms.Platform `json:"platform"`
	// Portion is empty for a platform. Else it is that of the platform which was done apart; what several platforms share is that of
	// BUILDPLATFORM.
	Portion PortionKind `json:"portion,omitempty"`
	// Node is the node's name, and URL its endpoint, by which it is known again.
	Node     string              `json:"node"`
	URL      string              `json:"url"`
	Strategy crossbuild.Strategy `json:"strategy"`
	// Seconds is how long it took from the node being told to its being done.
	Seconds float64 `json:"seconds"`
	// Cached is the share of its steps that came from the node's cache, from 0 to 1. Zero: none, or it is not known.
	Cached float64 `json:"cached,omitempty"`
	// Work is how much was done, in the seconds that it is taken to need where nothing was ever measured. Zero: not known, all of the platform.
	Work float64 `json:"work,omitempty"`
	// Build was BUILDPLATFORM. Zero: not known.
	Build platforms.Platform `json:"build_platform,omitzero"`
	// Travelled is how many bytes of the portion went to another node, by TravelKey.
	Travelled map[string]int64 `json:"travelled,omitempty"`
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
			case crossbuild.RunsAssisted:
				weights[i] += stepSeconds * costs[crossbuild.Assisted]
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
			Target: a.Target, Platform: a.Platform, Node: n.Name, URL: n.URL, Strategy: a.Strategy, Seconds: took.Seconds() * weights[i] / whole, Cached: cached,
			Work: workOf(ran(a.Steps)), When: when,
		}
	}
	return out
}

// PortionRecord is what to remember of a portion of a build with BUILDPLATFORM build.
func PortionRecord(n nodes.Node, build platforms.Platform, p Portion, took time.Duration, when time.Time) Record {
	out := Record{
		Platform: build, Portion: p.Kind, Node: n.Name, URL: n.URL, Strategy: p.Strategy, Seconds: took.Seconds(), Work: workOf(ran(p.Steps)), When: when,
	}
	if p.Kind == PortionPrivate {
		out.Target, out.Platform = p.goals()[0].Target, p.Platforms[0]
	}
	return out
}

// ran is how many of the steps run programs.
func ran(list []crossbuild.Handling) int {
	n := 0
	for _, h := range list {
		if h.How != crossbuild.RunsNothing {
			n++
		}
	}
	return n
}

// Seconds is how long a platform takes on a node by a strategy, newer builds counting more; false if nothing was measured.
func (h History) Seconds(n nodes.Entry, p platforms.Platform, s crossbuild.Strategy) (float64, bool) {
	for _, g := range groups(h) {
		if g.url == n.URL && g.subject == (subject{Goal: Goal{Platform: p}}) && g.strategy == s {
			return g.mean.value, true
		}
	}
	return 0, false
}

// measures reports whether the record tells how long the steps take. Nothing takes a month.
func (r Record) measures() bool { return r.Cached < mostly && r.Seconds > 0 && r.Seconds < 30*24*3600 }

// Last is the newest record of a platform: its node is the one whose cache is warm. False if there is none.
func (h History) Last(p platforms.Platform) (Record, bool) { return h.last(Goal{Platform: p}, "") }

func (r *Record) subject() subject { return subject{Goal{r.Target, r.Platform}, r.Portion} }

func (h History) last(g Goal, kind PortionKind) (Record, bool) {
	for i := len(h.Records) - 1; i >= 0; i-- {
		if r := h.Records[i]; r.subject() == (subject{g, kind}) {
			return r, true
		}
	}
	return Record{}, false
}

// Build is BUILDPLATFORM of the newest record that knows it; zero if none does.
func (h History) Build() platforms.Platform {
	for i := len(h.Records) - 1; i >= 0; i-- {
		if b := h.Records[i].Build; b != (platforms.Platform{}) {
			return b
		}
	}
	return platforms.Platform{}
}

// Travelled is how many bytes went from one node to another, by TravelKey, each as it was the last time.
func (h History) Travelled() map[string]int64 {
	out := map[string]int64{}
	for _, r := range h.Records {
		maps.Copy(out, r.Travelled)
	}
	return out
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
