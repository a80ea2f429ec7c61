// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Places tells which node does what, by its name.
type Places struct {
	// Home has for each graph the node that makes its result.
	Home []string
	// Shared is the node that does Division.Shared. Empty: each home does it for itself.
	Shared string
	// Private has for each graph the node that does its part of Division.Private. Empty: its home.
	Private []string
	// Assist gives the aid that a step of the graphs has on a node, nil if it has none. Nil itself: nothing is assisted.
	Assist func(node string, s *Step) *Aid
}

// Part is one result of a step that other nodes than the one which makes it need.
type Part struct {
	// Key is equal for parts that are the same in what they do and what travels of it. Like Identity it says nothing across requests.
	Key digest.Digest `json:"-"`
	// Node is the one that makes it.
	Node string `json:"node"`
	// Step is the one whose result it is, and Output which of its results.
	Step   *Step `json:"step"`
	Output int64 `json:"output,omitempty"`
	// Paths are what is carried over of it, as the steps that copy from it name them. Empty: all of its layers.
	Paths []string `json:"paths,omitempty"`
	// Steps are all that run a program for it on Node, Step included if it does.
	Steps []*Step `json:"-"`
	// Needs are the parts, by their places in the cut, that are to be there before; all are smaller than its own place. What was made on
	// the same node need only have been made.
	Needs []int `json:"-"`
	// Graphs are the ones, by their places in the list given, that it is a part of, in their order, at least one. Others may wait for it
	// because they have some of its steps.
	Graphs []int `json:"-"`
}

// Import is a part that has been made, as a graph names it. Its zero value is one that need not be fetched, since it was made on the same
// node: there it only is not made again.
type Import struct {
	// Ref is an image's reference with its digest, in the client's OCI store Store.
	Ref, Store string
}

// Imports gives the parts that have been made, by their places in the cut; false is one that is to be made where it is needed.
type Imports func(part int) (Import, bool)

// Cut is how the graphs of one request are done on several nodes. It is not changed once made and may be read concurrently.
type Cut struct {
	// Parts are what travels, those that others need before them.
	Parts []Part

	graphs []*Graph
	at     []string // the home of each
	homes  []home
	makes  []makes                 // of each part
	ids    map[digest.Digest]int   // of identities; inputs have smaller ones
	values map[digest.Digest][]int // the parts that are results of a step

	assist func(node string, s *Step) *Aid
	aids   map[digest.Digest]*Step // the steps that may be assisted, by Identity
}

// home is what is done where a graph's result is made.
type home struct {
	list []vertex
	does *region
	uses []int
}

// makes is what is done for a part.
type makes struct {
	graph, step int
	want        bundle // nil: the whole
	does        *region
	reader      spot // the first step that copies from it
}

// NewCut cuts graphs, which were divided into d. A home that is the place of what it would import has no part of it made, but if others do, it
// has that among its Uses: then it waits for it and does not do it itself.
func NewCut(graphs []*Graph, d *Division, at Places) (*Cut, error) {
	if len(at.Home) != len(graphs) || slices.Contains(at.Home, "") {
		return nil, errors.New("cutting the build graphs: a platform has no home")
	}
	s := newSurvey(graphs, d, at)
	c := &Cut{graphs: graphs, at: at.Home, ids: s.ids, values: map[digest.Digest][]int{}, assist: at.Assist, aids: aidsOf(graphs, at)}
	for gi, g := range graphs {
		h := home{list: s.lists[gi]}
		if g != nil && len(g.Steps) > 0 {
			h.does = s.region(gi, g.result(), at.Home[gi])
			s.demand(user{graph: gi, part: -1}, h.does)
		}
		c.homes = append(c.homes, h)
	}
	c.addParts(s)
	for gi := range c.homes {
		c.use(gi)
	}
	return c, nil
}

// addParts makes parts of all that is demanded. It goes backwards, since a part may demand others of steps before its own.
func (c *Cut) addParts(s *survey) {
	type draft struct {
		Part
		makes
		users []user
	}
	var drafts []draft
	for id := len(s.demands) - 1; id >= 0; id-- {
		for _, dm := range s.demands[id] {
			v := &s.lists[dm.graph][dm.from]
			does := s.region(dm.graph, dm.edge, dm.node)
			for _, l := range slices.Backward(dm.loads()) {
				s.demand(user{graph: -1, part: len(drafts)}, does)
				drafts = append(drafts, draft{
					Part: Part{
						Key:  hash(fmt.Appendf(nil, "%s %d\n%s", v.Identity, dm.output, l.want.key())),
						Node: dm.node, Step: v.Step, Output: dm.output, Paths: l.want.paths(), Steps: does.programs(s.lists[dm.graph]),
					},
					makes: makes{graph: dm.graph, step: dm.from, want: l.want, does: does, reader: l.reader},
					users: l.users,
				})
			}
		}
	}
	last := len(drafts) - 1
	c.Parts, c.makes = make([]Part, len(drafts)), make([]makes, len(drafts))
	for i, d := range drafts {
		at := last - i
		c.Parts[at], c.makes[at] = d.Part, d.makes
		for _, u := range d.users {
			if u.part >= 0 {
				c.Parts[last-u.part].Needs = append(c.Parts[last-u.part].Needs, at)
			} else {
				c.homes[u.graph].uses = append(c.homes[u.graph].uses, at)
			}
		}
	}
	for i := range c.Parts {
		id := c.Parts[i].Step.Identity
		c.values[id] = append(c.values[id], i)
		c.Parts[i].Needs = c.also(c.Parts[i].Needs, c.makes[i].does, c.Parts[i].Node, i)
	}
}

// use completes what the home of a graph needs, and tells the parts that they are for it.
func (c *Cut) use(graph int) {
	h := &c.homes[graph]
	if h.does == nil {
		return
	}
	h.uses = c.also(h.uses, h.does, c.at[graph], len(c.Parts))
	needed := make([]bool, len(c.Parts))
	need := func(parts []int, does *region, node string) {
		for _, p := range parts {
			if c.Parts[p].Node != node || does.covers.has(c.ids[c.Parts[p].Step.Identity]) {
				needed[p] = true
			}
		}
	}
	need(h.uses, h.does, c.at[graph])
	for p := len(c.Parts) - 1; p >= 0; p-- {
		if needed[p] {
			c.Parts[p].Graphs = append(c.Parts[p].Graphs, graph)
			need(c.Parts[p].Needs, c.makes[p].does, c.Parts[p].Node)
		}
	}
}

// also adds to needs the parts before end that node makes and that run a program which is to be run again there: to wait for those is to run
// it once. The result is in order.
func (c *Cut) also(needs []int, does *region, node string, end int) []int {
	for p := range c.Parts[:end] {
		if c.Parts[p].Node == node && c.makes[p].does.runs.meets(does.runs) {
			needs = append(needs, p)
		}
	}
	slices.Sort(needs)
	return slices.Compact(needs)
}

// Uses are the parts that the home of a graph needs, whether or not they travel, by their places in Parts.
func (c *Cut) Uses(graph int) []int { return c.homes[graph].uses }

// Origin is the graph, by its place in the list given, whose steps a part is made of.
func (c *Cut) Origin(part int) int { return c.makes[part].graph }

// To are the nodes that fetch a part, each once: first those that need it for parts of their own, then homes.
func (c *Cut) To(part int) []string {
	var nodes []string
	add := func(node string) {
		if node != c.Parts[part].Node && !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	for i := range c.Parts {
		if slices.Contains(c.Parts[i].Needs, part) {
			add(c.Parts[i].Node)
		}
	}
	for i := range c.homes {
		if slices.Contains(c.homes[i].uses, part) {
			add(c.at[i])
		}
	}
	return nodes
}
