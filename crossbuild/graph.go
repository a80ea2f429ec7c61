// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// Graph is what a frontend made of a build for one target. It is not changed after Read and may be read concurrently.
type Graph struct {
	Target platforms.Platform `json:"target"`
	Steps  []Step             `json:"steps"` // inputs before those that need them; the last one is the result

	origin *origin // nil for one that was put together of steps
	own    Own
}

// Demand is what a graph asks of a node: to run these steps' programs, which are of Platform.
type Demand struct {
	Platform platforms.Platform `json:"platform"`
	Execs    []*Step            `json:"execs"` // of the graph's Steps, in their order, at least one
}

// Demands returns the steps that run programs by platform, platforms in the order of their first step.
func (g *Graph) Demands() []Demand {
	var list []Demand
	place := map[platforms.Platform]int{}
	for i := range g.Steps {
		s := &g.Steps[i]
		if !s.Runs() {
			continue
		}
		at, ok := place[s.Platform]
		if !ok {
			at = len(list)
			place[s.Platform] = at
			list = append(list, Demand{Platform: s.Platform})
		}
		list[at].Execs = append(list[at].Execs, s)
	}
	return list
}

// Executes returns the platforms whose programs the graph runs, each once, in the order of their first step.
func (g *Graph) Executes() []platforms.Platform {
	var list []platforms.Platform
	for _, d := range g.Demands() {
		list = append(list, d.Platform)
	}
	return list
}

// Foreign returns the demands that a machine cannot meet which runs what can says, in the order of Demands.
func (g *Graph) Foreign(can func(platforms.Platform) bool) []Demand { return foreign(g.Demands(), can) }

func foreign(all []Demand, can func(platforms.Platform) bool) []Demand {
	var list []Demand
	for _, d := range all {
		if !can(d.Platform) {
			list = append(list, d)
		}
	}
	return list
}

// Common is a step that several graphs have.
type Common struct {
	Step    *Step                `json:"step"`    // of the first of these graphs
	Targets []platforms.Platform `json:"targets"` // of the graphs that have it, in their order, two or more
	Graphs  []int                `json:"-"`       // places of these graphs in the list given
}

// Shared returns the steps that are equal (by Identity) in two or more of the graphs of one request, in the order of the
// first graph that has each. A nil graph has no steps.
func Shared(graphs []*Graph) []Common {
	// Most steps of a large build are not shared: nothing is made for those.
	type first struct {
		step      *Step
		graph     int
		inSeveral int // place in several, from 1
	}
	steps := 0
	for _, g := range graphs {
		if g != nil {
			steps += len(g.Steps)
		}
	}
	list := make([]first, 0, steps)
	place := make(map[digest.Digest]int, steps)
	var several []Common
	for gi, g := range graphs {
		if g == nil {
			continue
		}
		for si := range g.Steps {
			s := &g.Steps[si]
			at, ok := place[s.Identity]
			if !ok {
				place[s.Identity] = len(list)
				list = append(list, first{step: s, graph: gi})
				continue
			}
			f := &list[at]
			if f.inSeveral == 0 && f.graph != gi {
				several = append(several, Common{Step: f.step, Targets: []platforms.Platform{graphs[f.graph].Target}, Graphs: []int{f.graph}})
				f.inSeveral = len(several)
			}
			// A graph that has two equal steps, from two conversions, counts once.
			if f.inSeveral > 0 {
				c := &several[f.inSeveral-1]
				if c.Graphs[len(c.Graphs)-1] != gi {
					c.Graphs = append(c.Graphs, gi)
					c.Targets = append(c.Targets, g.Target)
				}
			}
		}
	}
	var out []Common
	for _, f := range list {
		if f.inSeveral > 0 {
			out = append(out, several[f.inSeveral-1])
		}
	}
	return out
}

// Base is an image that a build takes from a registry.
type Base struct {
	Reference string             `json:"reference"` // as the graph has it, usually with a digest
	Platform  platforms.Platform `json:"platform"`  // the one wanted of the image
	Location  Location           `json:"location,omitzero"`
}

// Bases returns the images that the graphs refer to, each reference and platform once, in order of appearance, with the
// place where it is first named.
func Bases(graphs []*Graph) []Base {
	var list []Base
	seen := map[Base]bool{}
	for _, g := range graphs {
		if g == nil {
			continue
		}
		for _, s := range g.Steps {
			if s.Kind != KindImage {
				continue
			}
			_, ref, _ := strings.Cut(s.Source, "://")
			b := Base{Reference: ref, Platform: s.Platform}
			if seen[b] {
				continue
			}
			seen[b] = true
			if len(s.Locations) > 0 {
				b.Location = s.Locations[0]
			}
			list = append(list, b)
		}
	}
	return list
}
