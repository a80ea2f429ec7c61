// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// survey finds what has to travel between nodes.
type survey struct {
	lists   [][]vertex
	at      [][]string // the node of each step; empty for what is done wherever it is needed
	ids     map[digest.Digest]int
	demands [][]*demand // by the id of the step
}

// demand is a result of a step that others than its node need.
type demand struct {
	edge
	graph int // the first that has it
	node  string
	users []user
}

// user is a home, or a part by its place among drafts, with what it takes of a result.
type user struct {
	graph, part int
	whole       bool
	wants       []bundle // of each step that copies, unless whole
	readers     []spot   // these steps
}

// load is what a part is to carry, for whom.
type load struct {
	want   bundle
	users  []user
	reader spot
}

func newSurvey(graphs []*Graph, d *Division, at Places) *survey {
	s := &survey{ids: map[digest.Digest]int{}}
	if d == nil {
		d = &Division{}
	}
	common := identities(d.Shared)
	for gi, g := range graphs {
		list := g.vertices()
		s.lists = append(s.lists, list)
		for i := range list {
			if _, ok := s.ids[list[i].Identity]; !ok {
				s.ids[list[i].Identity] = len(s.ids)
			}
		}
		p := placer{list: list, home: at.Home[gi], common: at.Shared, shared: common}
		if gi < len(d.Private) && d.Private[gi] != nil && gi < len(at.Private) {
			p.apart, p.private = at.Private[gi], identities(d.Private[gi])
		}
		s.at = append(s.at, p.places(g))
	}
	s.demands = make([][]*demand, len(s.ids))
	return s
}

func identities(g *Graph) map[digest.Digest]bool {
	if g == nil {
		return nil
	}
	set := make(map[digest.Digest]bool, len(g.Steps))
	for i := range g.Steps {
		set[g.Steps[i].Identity] = true
	}
	return set
}

// region is what of a graph is done at one place, from a result down to what is imported.
type region struct {
	graph   int
	steps   []bool // of the graph, which are done
	runs    bits   // the ids of those that run programs
	covers  bits   // the ids of all
	imports []taken
}

// taken is what one step takes of a result that is made elsewhere.
type taken struct {
	take
	reader int
}

// region begins with the step of root, wherever that is done, if it is done here.
func (s *survey) region(graph int, root edge, node string) *region {
	list, at := s.lists[graph], s.at[graph]
	r := &region{graph: graph, steps: make([]bool, len(list)), runs: make(bits, len(s.ids)/64+1), covers: make(bits, len(s.ids)/64+1)}
	here := func(i int) bool { return at[i] == "" || at[i] == node }
	if !here(root.from) {
		r.imports = []taken{{take: take{edge: root, whole: true}, reader: -1}}
		return r
	}
	r.steps[root.from] = true
	for i := root.from; i >= 0; i-- {
		if !r.steps[i] {
			continue
		}
		v := &list[i]
		r.covers.set(s.ids[v.Identity])
		if v.Runs() {
			r.runs.set(s.ids[v.Identity])
		}
		if !v.programs {
			for _, in := range v.inputs {
				r.steps[in.from] = true
			}
			continue
		}
		elsewhere := false
		for _, in := range v.inputs {
			if here(in.from) {
				r.steps[in.from] = true
			} else {
				elsewhere = true
			}
		}
		if !elsewhere {
			continue
		}
		for _, t := range v.takes() {
			if !here(t.from) {
				r.imports = append(r.imports, taken{take: t, reader: i})
			}
		}
	}
	slices.Reverse(r.imports) // in the order of the steps
	return r
}

func (r *region) programs(list []vertex) []*Step {
	var steps []*Step
	for i := range r.steps {
		if r.steps[i] && list[i].Runs() {
			steps = append(steps, list[i].Step)
		}
	}
	return steps
}

// demand notes what a region imports.
func (s *survey) demand(u user, r *region) {
	for _, t := range r.imports {
		id, node := s.ids[s.lists[r.graph][t.from].Identity], s.at[r.graph][t.from]
		at := slices.IndexFunc(s.demands[id], func(d *demand) bool { return d.output == t.output && d.node == node })
		if at < 0 {
			at = len(s.demands[id])
			s.demands[id] = append(s.demands[id], &demand{edge: t.edge, graph: r.graph, node: node})
		}
		s.demands[id][at].add(u, t, spot{r.graph, t.reader})
	}
}

// add notes what one of the user's steps takes. A user's notes follow each other.
func (d *demand) add(u user, t taken, reader spot) {
	if n := len(d.users); n == 0 || d.users[n-1].graph != u.graph || d.users[n-1].part != u.part {
		d.users = append(d.users, u)
	}
	last := &d.users[len(d.users)-1]
	last.whole = last.whole || t.whole
	last.wants = append(last.wants, t.want)
	last.readers = append(last.readers, reader)
}

// loads puts into one what the same users take, as far as it goes together. Who needs the whole anyway gets nothing else.
func (d *demand) loads() []load {
	var list []load
	var whole load
	units := map[string]int{} // places in list
	for _, u := range d.users {
		if u.whole {
			whole.users = append(whole.users, u)
			continue
		}
		for i, want := range u.wants {
			key := want.key()
			at, ok := units[key]
			if !ok {
				at = len(list)
				units[key] = at
				list = append(list, load{want: want, reader: u.readers[i]})
			}
			if l := &list[at]; len(l.users) == 0 || !same(l.users[len(l.users)-1], u) {
				l.users = append(l.users, u)
			}
		}
	}
	list = pack(list)
	if len(whole.users) > 0 {
		whole.reader.step = -1
		list = append(list, whole)
	}
	return list
}

func same(a, b user) bool { return a.graph == b.graph && a.part == b.part }

// pack joins loads of the same users.
func pack(list []load) []load {
	var out []load
	byUsers := map[string][]int{} // places in out
	for _, l := range list {
		key := ""
		for _, u := range l.users {
			key += fmt.Sprintf("%d %d,", u.graph, u.part)
		}
		joined := slices.ContainsFunc(byUsers[key], func(at int) bool { return out[at].want.add(l.want...) })
		if !joined {
			byUsers[key] = append(byUsers[key], len(out))
			out = append(out, l)
		}
	}
	return out
}

// bits is a set of small numbers.
type bits []uint64

func (b bits) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

func (b bits) meets(o bits) bool {
	for i := range b {
		if b[i]&o[i] != 0 {
			return true
		}
	}
	return false
}
