// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// planner fills the sites with the platforms of a situation, and with what of them is done apart.
type planner struct {
	*catalog
	s      *Situation
	sites  []site
	wanted []wanted
	// homes are where wanted are placed; nil is one that is not yet.
	homes []*site
	// shared is what several of wanted have in common and is done apart. Nil: nothing is.
	shared *portion
	// subjects number what things are measured of.
	subjects map[subject]int
	// strategies are what Decide said, by shape and class; zero is a node that is not able to.
	strategies []crossbuild.Strategy
	classes    int
	offers     []offer   // used again for each platform
	room       []float64 // for the seconds of forms
	// base is when what all offers wait for is done: before that none of them can be better than another.
	base   float64
	native map[platforms.Platform]bool
	// staying are portions that stay and that no platform of this plan needs.
	staying []Portion
	// travelled is how many bytes travelled of each step, by stepKey.
	travelled map[string]int64
}

// subject is something that takes time: a platform, or a portion of one.
type subject struct {
	Goal
	portion PortionKind
}

func newPlanner(s *Situation) *planner {
	p := &planner{
		catalog: &catalog{number: map[platforms.Platform]int{}, shapes: map[string]int{}}, s: s, subjects: map[subject]int{},
		sites: make([]site, len(s.Farm)), offers: make([]offer, 0, len(s.Farm)), native: map[platforms.Platform]bool{},
	}
	p.read()
	p.classify()
	p.decide()
	p.stand()
	p.estimate()
	for i := range p.sites {
		p.occupy(i)
	}
	return p
}

// read reads the graphs.
func (p *planner) read() {
	d := p.s.Division
	var less []identities
	if d != nil && d.Shared != nil {
		p.shared = p.newPortion(PortionShared, Goal{Platform: p.s.Build}, d.Shared)
		less = append(less, p.shared.steps)
	}
	p.wanted, p.homes = make([]wanted, len(p.s.Graphs)), make([]*site, len(p.s.Graphs))
	for i, g := range p.s.Graphs {
		w := &p.wanted[i]
		goal := Goal{p.s.target(i), g.Target}
		*w = wanted{name: goal.Target, target: goal.Platform, number: p.subject(goal, ""), whole: p.form(g, less...)}
		if w.whole.waits {
			p.shared.users = append(p.shared.users, goal)
		}
		if d == nil || i >= len(d.Private) || d.Private[i] == nil {
			continue
		}
		w.private = p.newPortion(PortionPrivate, goal, d.Private[i])
		w.private.users = []Goal{goal}
		w.private.whole.open(g, less)
		w.rest = p.form(g, append(less[:len(less):len(less)], w.private.steps)...)
	}
	if p.shared != nil && len(p.shared.users) == 0 {
		p.shared = nil
	}
	p.liken()
}

// liken finds platforms of several requests that have programs in common which none of them does apart: on one node they are run once.
func (p *planner) liken() {
	of := map[platforms.Platform][]int{}
	for i := range p.wanted {
		of[p.wanted[i].target] = append(of[p.wanted[i].target], i)
	}
	if len(of) == len(p.wanted) {
		return
	}
	var less []identities
	if p.shared != nil {
		less = append(less, p.shared.steps)
	}
	for i := range p.wanted {
		list := of[p.wanted[i].target]
		if len(list) < 2 || list[0] != i {
			continue
		}
		have := map[digest.Digest]int{} // the last that has it
		for _, at := range list {
			g := p.wanted[at].whole.graph
			for k := range g.Steps {
				s := &g.Steps[k]
				if !s.Runs() || among(less, s) {
					continue
				}
				if other, ok := have[s.Identity]; ok && other != at && !slices.Contains(p.wanted[at].like, other) {
					p.wanted[at].like = append(p.wanted[at].like, other)
					p.wanted[other].like = append(p.wanted[other].like, at)
				}
				have[s.Identity] = at
			}
		}
	}
}

// target is the name of the request that a graph is of.
func (s *Situation) target(graph int) string {
	if graph < len(s.Targets) {
		return s.Targets[graph]
	}
	return ""
}

func (w *wanted) goal() Goal { return Goal{w.name, w.target} }

func (p *planner) subject(of Goal, kind PortionKind) int {
	key := subject{of, kind}
	n, ok := p.subjects[key]
	if !ok {
		n = len(p.subjects)
		p.subjects[key] = n
	}
	return n
}

// all calls do with all that is to be placed.
func (p *planner) all(do func(*wanted)) {
	if p.shared != nil {
		do(&p.shared.wanted)
	}
	for i := range p.wanted {
		if private := p.wanted[i].private; private != nil {
			do(&private.wanted)
		}
		do(&p.wanted[i])
	}
}

// classify makes the sites.
func (p *planner) classify() {
	middle := middleScore(p.s.Farm)
	classes := map[string]int{}
	for i := range p.s.Farm {
		n := &p.s.Farm[i]
		site := newSite(n, p.s)
		site.builds = n.Info.Native(p.s.Build)
		site.speeds = make([]speed, len(p.platforms))
		var key []byte
		for k, name := range p.platforms {
			site.speeds[k] = speedOf(&n.Info, name, middle)
			key = append(append(key, ' '), site.speeds[k].how...)
		}
		class, ok := classes[string(key)]
		if !ok {
			class = len(classes)
			classes[string(key)] = class
		}
		site.class, site.endpoint = class, i
		for k := range p.sites[:i] {
			if p.sites[k].node.URL == n.URL {
				site.endpoint = k
				break
			}
		}
		p.sites[i] = site
	}
	p.classes = len(classes)
}

// decide asks for the strategy of each shape on each class, once.
func (p *planner) decide() {
	p.strategies = make([]crossbuild.Strategy, len(p.examples)*p.classes)
	asked := make([]bool, p.classes)
	for i := range p.sites {
		s := &p.sites[i]
		if asked[s.class] {
			continue
		}
		asked[s.class] = true
		for shape, g := range p.examples {
			if d, err := crossbuild.Decide(g, s.node.Info, nil); err == nil {
				p.strategies[shape*p.classes+s.class] = d.Strategy
			}
		}
	}
}

// strategy is how a form would be built on a site, allowed or not; zero if it cannot be.
func (p *planner) strategy(f *form, s *site) crossbuild.Strategy {
	return p.strategies[f.shape*p.classes+s.class]
}

// at is the form of w that a site would have if it does all that it is best for.
func (p *planner) at(w *wanted, s *site) *form {
	if w.private != nil && w.private.at.site != nil && !s.builds {
		return &w.rest
	}
	return &w.whole
}

// allows reports whether the user allows a strategy. A portion has no platform that it could be native or cross to.
func (p *planner) allows(w *wanted, s crossbuild.Strategy) bool {
	if w.part != nil && tier(s) == 0 {
		return p.s.Allowed.Allows(crossbuild.Native) || p.s.Allowed.Allows(crossbuild.Cross)
	}
	return p.s.Allowed.Allows(s)
}

// excluded tells whether and why a site is not to be used for w by a strategy.
func (w *wanted) excluded(s *site, how crossbuild.Strategy) (why string, out bool) {
	if w.part == nil {
		return s.excluded(w.goal(), how)
	}
	for _, user := range w.part.users {
		if why, out := s.excluded(user, how); out {
			return why, true
		}
	}
	return "", false
}

// occupy gives a site what it has to do already. Each build of somebody else's is taken to be like those of this one in the mean.
func (p *planner) occupy(at int) {
	s := &p.sites[at]
	sum, n := 0.0, 0.0
	for i := range p.wanted {
		if seconds := p.wanted[i].whole.seconds[at]; seconds > 0 {
			sum += seconds
			n++
		}
	}
	mean := sum / max(n, 1)
	s.load(mean)
	for _, a := range p.s.Under {
		if a.Node != s.node.Name {
			continue
		}
		s.put(max(a.Expected, mean))
		s.own++
	}
}

// order is that in which platforms are placed: those that take longest, where they are fastest, come first.
func (p *planner) order() []int {
	least := make([]float64, len(p.wanted))
	order := make([]int, len(p.wanted))
	for i := range p.wanted {
		order[i] = i
		for _, list := range [][]float64{p.wanted[i].whole.seconds, p.wanted[i].rest.seconds} {
			for _, seconds := range list {
				if seconds > 0 && (least[i] == 0 || seconds < least[i]) {
					least[i] = seconds
				}
			}
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(least[b], least[a]) })
	return order
}
