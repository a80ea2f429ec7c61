// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"slices"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// Division is what of the graphs of one request can be done apart from the rest, on other nodes. Its graphs hold steps of the graphs that
// were divided, in their order; a graph without steps is never there but nil. They end with steps that run programs: what only changes
// files after those is done where it is needed. What of a step can be done elsewhere is told in docs/split.md; what cannot be proved to give
// the same result there is left to the platforms.
type Division struct {
	// Shared are the steps that two or more graphs have, with all that they need. At least one runs a program. Nil: there are none.
	Shared *Graph
	// Private has for each graph the steps that run programs of the build platform alone, with all that they need and that is not Shared,
	// where the graph also runs others. Nil: such a graph has none, or nothing is left of it without them.
	Private []*Graph
}

// Divide finds what of graphs, which are for the BUILDPLATFORM build, can be done apart. Its targets are build. A nil graph has no steps.
func Divide(graphs []*Graph, build platforms.Platform) *Division {
	d := newDivider(graphs, build)
	for d.settle() {
	}
	return d.division(build)
}

// movable tells whether a step does the same on every node that runs its programs. Its inputs are another matter.
func movable(v *vertex) bool {
	switch v.Kind {
	case KindImage, KindLocal, KindGit, KindHTTP, KindOCILayout, KindFile, KindMerge, KindDiff:
	case KindExec:
		if v.Uses.Security != "" || v.Uses.Network == NetworkUnknown || v.Uses.Devices || v.op == nil && v.Uses.Cache {
			return false
		}
		for _, m := range v.op.GetExec().GetMounts() {
			if _, known := pb.MountType_name[int32(m.GetMountType())]; !known {
				return false
			}
		}
	default:
		return false
	}
	return len(v.op.GetConstraints().GetFilter()) == 0 // a filter may tell nodes apart
}

// caches names the cache mounts of a step as BuildKit does: by their ids alone.
func caches(v *vertex) []string {
	var ids []string
	for _, m := range v.op.GetExec().GetMounts() {
		if id := m.GetCacheOpt().GetID(); m.GetMountType() == pb.MountType_CACHE && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// share is whose a step that runs programs is.
type share int8

const (
	atHome share = iota
	private
	shared
)

// divider takes all that it may for shared or private at first, and then gives back to the platforms what breaks a rule, until no rule is
// broken. What was given back stays.
type divider struct {
	graphs []*Graph
	lists  [][]vertex
	share  [][]share // of each step, as far as it runs programs
	build  [][]bool  // whether a step and all that it needs run programs of the build platform alone
	pure   []bool    // whether a graph was found to have no private steps
	copies map[digest.Digest][]spot
}

// spot is a step of a graph.
type spot struct{ graph, step int }

func newDivider(graphs []*Graph, build platforms.Platform) *divider {
	d := &divider{graphs: graphs, pure: make([]bool, len(graphs))}
	steps := 0
	for _, g := range graphs {
		list := g.vertices()
		steps += len(list)
		d.lists = append(d.lists, list)
		d.share = append(d.share, make([]share, len(list)))
		d.build = append(d.build, make([]bool, len(list)))
	}
	d.copies = make(map[digest.Digest][]spot, steps)
	for gi, list := range d.lists {
		for si := range list {
			v := &list[si]
			only := !v.Runs() || v.Platform == build
			for _, in := range v.inputs {
				only = only && d.build[gi][in.from]
			}
			d.build[gi][si] = only
			if v.Kind == KindExec && v.apart {
				d.copies[v.Identity] = append(d.copies[v.Identity], spot{gi, si})
			}
		}
	}
	for _, spots := range d.copies {
		several := d.shares(spots)
		for _, s := range spots {
			if several {
				d.share[s.graph][s.step] = shared
			} else {
				d.share[s.graph][s.step] = d.withoutSharing(s)
			}
		}
	}
	return d
}

// shares reports whether a step that graphs have is for one node to do. Programs of the very platform that all of these are for are done at
// home, where that platform is native: their homes are chosen so that they have them in common.
func (d *divider) shares(spots []spot) bool {
	first := spots[0]
	if first.graph == spots[len(spots)-1].graph {
		return false
	}
	if d.build[first.graph][first.step] {
		return true
	}
	return slices.ContainsFunc(spots, func(s spot) bool { return d.graphs[s.graph].Target != d.graphs[first.graph].Target })
}

func (d *divider) withoutSharing(s spot) share {
	if d.build[s.graph][s.step] && !d.pure[s.graph] {
		return private
	}
	return atHome
}

// lower gives a step back, from Shared in all graphs, and reports whether that changes anything. most is the share it may keep.
func (d *divider) lower(s spot, most share) bool {
	was := d.share[s.graph][s.step]
	if was <= most {
		return false
	}
	if was == shared {
		for _, c := range d.copies[d.lists[s.graph][s.step].Identity] {
			d.share[c.graph][c.step] = d.withoutSharing(c)
		}
	}
	d.share[s.graph][s.step] = min(d.share[s.graph][s.step], most)
	return true
}

// settle mends what is broken and reports whether anything was.
func (d *divider) settle() bool {
	changed := false
	for gi := range d.lists {
		changed = d.settleNeeds(gi) || changed
		changed = d.settleCaches(gi) || changed
		changed = d.settleDiffs(gi) || changed
		changed = d.settlePure(gi) || changed
	}
	return changed
}

// settleNeeds: what a step needs is no less shared than the step itself.
func (d *divider) settleNeeds(gi int) bool {
	changed := false
	for si, least := range d.least(gi) {
		if d.lists[gi][si].Kind == KindExec {
			changed = d.lower(spot{gi, si}, least) || changed
		}
	}
	return changed
}

// least is for each step the least share among the programs that it needs, itself included.
func (d *divider) least(gi int) []share {
	least := make([]share, len(d.lists[gi]))
	for si := range d.lists[gi] {
		v := &d.lists[gi][si]
		least[si] = shared
		if v.Runs() {
			least[si] = d.share[gi][si]
		}
		for _, in := range v.inputs {
			least[si] = min(least[si], least[in.from])
		}
	}
	return least
}

// settleCaches: steps of one graph that have a cache mount in common are done on one node, since one may need what another left there.
// Graphs do not wait for each other, so that what one leaves there another cannot rely on.
func (d *divider) settleCaches(gi int) bool {
	users := map[string][]int{}
	var ids []string
	for si := range d.lists[gi] {
		if v := &d.lists[gi][si]; v.Uses.Cache {
			for _, id := range caches(v) {
				if users[id] == nil {
					ids = append(ids, id)
				}
				users[id] = append(users[id], si)
			}
		}
	}
	changed := false
	for _, id := range ids {
		least := shared
		for _, si := range users[id] {
			least = min(least, d.share[gi][si])
		}
		for _, si := range users[id] {
			changed = d.lower(spot{gi, si}, least) || changed
		}
	}
	return changed
}

// settleDiffs: a difference is made where both its sides were, because BuildKit makes another one of sides that it does not
// know to be made of each other.
func (d *divider) settleDiffs(gi int) bool {
	list := d.lists[gi]
	if !slices.ContainsFunc(list, func(v vertex) bool { return v.Kind == KindDiff && v.programs }) {
		return false
	}
	by := d.neededBy(gi)
	most := make([]share, len(list)) // what a difference that needs it allows
	for si := range most {
		most[si] = shared
	}
	changed := false
	for si := len(list) - 1; si >= 0; si-- {
		if list[si].Kind == KindDiff {
			most[si] = min(most[si], by[si])
		}
		if list[si].Kind == KindExec {
			changed = d.lower(spot{gi, si}, most[si]) || changed
		}
		for _, in := range list[si].inputs {
			most[in.from] = min(most[in.from], most[si])
		}
	}
	return changed
}

// neededBy is for each step the greatest share among the programs that need it, itself included.
func (d *divider) neededBy(gi int) []share {
	list, most := d.lists[gi], slices.Clone(d.share[gi])
	for si := len(list) - 1; si >= 0; si-- {
		for _, in := range list[si].inputs {
			most[in.from] = max(most[in.from], most[si])
		}
	}
	return most
}

// settlePure: a graph of which nothing is left but what is private or shared is not divided further.
func (d *divider) settlePure(gi int) bool {
	some := false
	for si := range d.lists[gi] {
		switch {
		case !d.lists[gi][si].Runs():
		case d.share[gi][si] == atHome:
			return false
		case d.share[gi][si] == private:
			some = true
		}
	}
	if !some {
		return false
	}
	d.pure[gi] = true
	for si := range d.lists[gi] {
		if d.share[gi][si] == private {
			d.share[gi][si] = atHome
		}
	}
	return true
}

// division gathers the steps.
func (d *divider) division(build platforms.Platform) *Division {
	out := &Division{Private: make([]*Graph, len(d.graphs))}
	all := &gatherer{have: map[digest.Digest]digest.Digest{}}
	for gi := range d.lists {
		for si, most := range d.neededBy(gi) {
			if most == shared {
				all.add(d.lists[gi][si].Step)
			}
		}
	}
	out.Shared = all.graph(build)
	for gi := range d.lists {
		own := &gatherer{have: map[digest.Digest]digest.Digest{}}
		for si, most := range d.neededBy(gi) {
			if _, isShared := all.have[d.lists[gi][si].Identity]; most == private && !isShared {
				own.add(d.lists[gi][si].Step)
			}
		}
		out.Private[gi] = own.graph(build)
	}
	return out
}

// gatherer puts steps of several graphs together, each identity once.
type gatherer struct {
	have  map[digest.Digest]digest.Digest // the digest that stands for an identity
	same  map[digest.Digest]digest.Digest // the digest that stands for another one
	steps []Step
}

func (c *gatherer) add(s *Step) {
	if first, ok := c.have[s.Identity]; ok {
		if first != s.Digest {
			if c.same == nil {
				c.same = map[digest.Digest]digest.Digest{}
			}
			c.same[s.Digest] = first
		}
		return
	}
	c.have[s.Identity] = s.Digest
	next := *s
	for i, in := range s.Inputs {
		if first, ok := c.same[in]; ok {
			if &next.Inputs[0] == &s.Inputs[0] {
				next.Inputs = slices.Clone(s.Inputs)
			}
			next.Inputs[i] = first
		}
	}
	c.steps = append(c.steps, next)
}

func (c *gatherer) graph(target platforms.Platform) *Graph {
	if len(c.steps) == 0 {
		return nil
	}
	return &Graph{Target: target, Steps: c.steps}
}

// Without returns g less the steps that are in others, by Identity. Steps that only those others needed are left out as well. It is for
// looking at alone: it has no definition.
func (g *Graph) Without(others ...*Graph) *Graph {
	gone := map[digest.Digest]bool{}
	for _, o := range others {
		if o == nil {
			continue
		}
		for i := range o.Steps {
			gone[o.Steps[i].Identity] = true
		}
	}
	list := g.vertices()
	needed, inner := make([]bool, len(list)), make([]bool, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		needed[i] = (needed[i] || !inner[i]) && !gone[list[i].Identity]
		for _, in := range list[i].inputs {
			inner[in.from] = true
			needed[in.from] = needed[in.from] || needed[i]
		}
	}
	out := &Graph{Target: g.Target}
	for i := range list {
		if needed[i] {
			out.Steps = append(out.Steps, *list[i].Step)
		}
	}
	return out
}
