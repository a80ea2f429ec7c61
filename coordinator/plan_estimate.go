// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"slices"

	"github.com/mab-build/mab/platforms"
)

// estimate finds what each platform and portion takes on each site.
func (p *planner) estimate() {
	list := groups(p.s.History)
	p.weigh(list)
	p.remember(list)
	cost := p.costOf(list)
	known := map[int]experience{}
	p.all(func(w *wanted) {
		e, ok := known[w.number]
		if !ok {
			e = p.experienceOf(w, list, cost)
			known[w.number] = e
		}
		w.experience = e
		p.fill(w, &w.whole)
		if w.private != nil {
			p.fill(w, &w.rest)
		}
	})
}

// experience is what earlier builds tell of something that is wanted.
type experience struct {
	work workload
	// warm is the newest record of it, whose node has the cache. Zero: it was never built.
	warm Record
	// endpoint is that node's, as in site; -1: it is not here.
	endpoint int
}

func (p *planner) experienceOf(w *wanted, list []group, cost []float64) experience {
	kind := PortionKind("")
	if w.part != nil {
		kind = w.part.kind
	}
	out := experience{work: workloadOf(subject{w.goal(), kind}, list, cost), endpoint: -1}
	if !out.work.known {
		out.work.fast, out.work.slow = 1, 1
	}
	var ok bool
	if out.warm, ok = p.s.History.last(w.goal(), kind); ok && w.target != (platforms.Platform{}) {
		out.endpoint = slices.IndexFunc(p.sites, func(s site) bool { return s.node.URL == out.warm.URL })
	}
	return out
}

// fill finds what a form of w takes on each site.
func (p *planner) fill(w *wanted, f *form) {
	if len(p.room) < len(p.sites) {
		p.room = make([]float64, len(p.sites)*(len(p.wanted)+1))
	}
	f.seconds, p.room = p.room[:len(p.sites):len(p.sites)], p.room[len(p.sites):]
	work := f.work()
	for k := range p.sites {
		s := &p.sites[k]
		strategy := p.strategy(f, s)
		if strategy == 0 || !p.allows(w, strategy) || w.part != nil && w.part.kind == PortionPrivate && !s.builds {
			continue
		}
		if _, out := w.excluded(s, strategy); out {
			continue
		}
		seconds := s.measurement(w.number, strategy)
		if seconds == 0 {
			seconds = w.work.of(strategy) * f.cost(s)
		}
		f.seconds[k] = seconds * work
	}
}

// weigh gives those groups a work that have none: they are from builds of which each platform was done as a whole.
func (p *planner) weigh(list []group) {
	if len(p.wanted) == 0 {
		return
	}
	for i := range list {
		if list[i].work > 0 {
			continue
		}
		of := max(0, slices.IndexFunc(p.wanted, func(w wanted) bool { return list[i].portion == "" && w.goal() == list[i].Goal }))
		f := &p.wanted[of].whole
		steps := f.steps
		for _, r := range f.gone {
			steps += r.steps
		}
		list[i].work = workOf(steps)
	}
}

// remember notes at each site what was measured there, for each second of work.
func (p *planner) remember(list []group) {
	for _, g := range list {
		number, ok := p.subjects[g.subject]
		if !ok {
			continue
		}
		for i := range p.sites {
			s := &p.sites[i]
			if s.node.URL != g.url {
				continue
			}
			if s.measured == nil {
				s.measured = make([]float64, len(p.subjects)*len(costs))
			}
			s.measured[number*len(costs)+int(g.strategy)] = g.mean.value / g.work
		}
	}
}

// costOf returns what a step cost in the mean in what was measured: as now if it was on a node that is here, else the default.
func (p *planner) costOf(list []group) []float64 {
	sites, wanteds := map[string]*site{}, map[int]*wanted{}
	for i := range p.sites {
		sites[p.sites[i].node.URL] = &p.sites[i]
	}
	p.all(func(w *wanted) { wanteds[w.number] = w })
	out := make([]float64, len(list))
	for i, g := range list {
		out[i] = costs[g.strategy]
		number, ok := p.subjects[g.subject]
		if s := sites[g.url]; s != nil && ok {
			for _, f := range []*form{&wanteds[number].whole, &wanteds[number].rest} {
				if f.graph != nil && p.strategy(f, s) == g.strategy {
					out[i] = f.cost(s)
					break
				}
			}
		}
	}
	return out
}
