// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"cmp"
	"slices"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

const (
	// clearly is how many times as early a slower strategy must be done to be chosen: estimates are not better than that.
	clearly = 2
	// noise is the factor within which times are equal.
	noise = 1.05
	// warmth is what is left to do where the cache is, and steadiness where even that did nothing the last time.
	warmth, steadiness = 0.5, 0.25
)

// planner fills the sites with the platforms of a situation.
type planner struct {
	*catalog
	s      *Situation
	sites  []site
	wanted []wanted
	// strategies are what Decide said, by shape and class; zero is a node that is not able to.
	strategies []crossbuild.Strategy
	classes    int
	// seconds are what each platform is expected to take on each site that is idle and has no cache; zero is one that cannot or may not have it.
	seconds []float64
	offers  []offer // used again for each platform
	native  map[platforms.Platform]bool
}

// offer is what a platform comes to on a site.
type offer struct {
	site     *site
	strategy crossbuild.Strategy
	// seconds is what it takes there, and finish when it is done, in seconds from now.
	seconds, finish float64
}

func newPlanner(s *Situation) *planner {
	p := &planner{
		catalog: &catalog{number: map[platforms.Platform]int{}, shapes: map[string]int{}}, s: s,
		sites: make([]site, len(s.Farm)), offers: make([]offer, 0, len(s.Farm)), native: map[platforms.Platform]bool{},
	}
	p.wanted = newWanted(s, p.catalog)
	p.classify()
	p.decide()
	p.estimate()
	for i := range p.sites {
		p.occupy(i)
	}
	return p
}

// classify makes the sites.
func (p *planner) classify() {
	middle := middleScore(p.s.Farm)
	classes := map[string]int{}
	for i := range p.s.Farm {
		n := &p.s.Farm[i]
		site := newSite(n, p.s)
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
		site.class = class
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

// strategy is how a platform would be built on a site, allowed or not; zero if it cannot be.
func (p *planner) strategy(w *wanted, s *site) crossbuild.Strategy {
	return p.strategies[w.form.shape*p.classes+s.class]
}

// estimate finds what each platform takes on each site.
func (p *planner) estimate() {
	list := groups(p.s.History)
	p.remember(list)
	cost := p.costOf(list)
	known := map[platforms.Platform]workload{}
	p.seconds = make([]float64, len(p.wanted)*len(p.sites))
	for i := range p.wanted {
		w := &p.wanted[i]
		work, ok := known[w.target]
		if !ok {
			work = workloadOf(w.target, list, cost)
			known[w.target] = work
		}
		if !work.known {
			work.fast = copySeconds + stepSeconds*float64(w.form.steps)
			work.slow = work.fast
		}
		w.work = work
		w.warm, _ = p.s.History.Last(w.target)
		for k := range p.sites {
			s := &p.sites[k]
			strategy := p.strategy(w, s)
			if _, out := s.excluded(w.target, strategy); out || strategy == 0 || !p.s.Allowed.Allows(strategy) {
				continue
			}
			seconds := s.measurement(w.number, strategy)
			if seconds == 0 {
				seconds = work.of(strategy) * w.form.cost(s)
			}
			p.seconds[i*len(p.sites)+k] = seconds
		}
	}
}

// remember notes at each site what was measured there.
func (p *planner) remember(list []group) {
	for _, g := range list {
		number, ok := p.number[g.platform]
		if !ok {
			continue
		}
		for i := range p.sites {
			s := &p.sites[i]
			if s.node.URL != g.url {
				continue
			}
			if s.measured == nil {
				s.measured = make([]float64, len(p.platforms)*len(costs))
			}
			s.measured[number*len(costs)+int(g.strategy)] = g.mean.value
		}
	}
}

// costOf returns what a step cost in the mean in what was measured: as now if it was on a node that is here, else the default.
func (p *planner) costOf(list []group) []float64 {
	sites, wanted := map[string]*site{}, map[platforms.Platform]*wanted{}
	for i := range p.sites {
		sites[p.sites[i].node.URL] = &p.sites[i]
	}
	for i := range p.wanted {
		wanted[p.wanted[i].target] = &p.wanted[i]
	}
	out := make([]float64, len(list))
	for i, g := range list {
		out[i] = costs[g.strategy]
		if s, w := sites[g.url], wanted[g.platform]; s != nil && w != nil && p.strategy(w, s) == g.strategy {
			out[i] = w.form.cost(s)
		}
	}
	return out
}

// occupy gives a site what it has to do already. Each build of somebody else's is taken to be like those of this one in the mean.
func (p *planner) occupy(at int) {
	s := &p.sites[at]
	sum, n := 0.0, 0.0
	for i := range p.wanted {
		if seconds := p.seconds[i*len(p.sites)+at]; seconds > 0 {
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
		for _, seconds := range p.seconds[i*len(p.sites) : (i+1)*len(p.sites)] {
			if seconds > 0 && (least[i] == 0 || seconds < least[i]) {
				least[i] = seconds
			}
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(least[b], least[a]) })
	return order
}

// place gives a platform to a site; to none if none can have it.
func (p *planner) place(at int) placement {
	w := &p.wanted[at]
	p.offers = p.offers[:0]
	for k := range p.sites {
		idle := p.seconds[at*len(p.sites)+k]
		if idle == 0 {
			continue
		}
		s := &p.sites[k]
		strategy := p.strategy(w, s)
		seconds := p.onto(w, s, idle, strategy)
		p.offers = append(p.offers, offer{s, strategy, seconds, s.finish(seconds)})
	}
	if len(p.offers) == 0 {
		return placement{}
	}
	out := p.placement(w, p.choose())
	out.site.take(out.finish)
	return out
}

// onto is what a platform takes on a site, which may have its cache or have to be sent its context first.
func (p *planner) onto(w *wanted, s *site, seconds float64, strategy crossbuild.Strategy) float64 {
	if w.warm.URL == s.node.URL && w.warm.Platform == w.target {
		if w.warm.Cached >= mostly {
			return seconds * steadiness
		}
		return seconds * warmth
	}
	if s.measurement(w.number, strategy) > 0 {
		return seconds
	}
	context := 0.0
	if w.form.sends {
		context = contextSize
	}
	return seconds + s.start(context)
}

// choose returns the place of the best offer.
func (p *planner) choose() int {
	best := -1
	for t := range tier(crossbuild.Emulated) + 1 {
		at := p.earliest(t)
		if at >= 0 && (best < 0 || p.offers[at].finish*clearly < p.offers[best].finish) {
			best = at
		}
	}
	return best
}

// earliest returns the place of the offer of a tier that is done first, or of the best one of several that are done about then; -1 if
// there is none.
func (p *planner) earliest(t int) int {
	least, best := 0.0, -1
	for i := range p.offers {
		if o := &p.offers[i]; tier(o.strategy) == t && (best < 0 || o.finish < least) {
			least, best = o.finish, i
		}
	}
	for i := range p.offers {
		o := &p.offers[i]
		if tier(o.strategy) != t || o.finish > least*noise {
			continue
		}
		if c := o.compare(&p.offers[best]); c < 0 || c == 0 && i < best {
			best = i
		}
	}
	return best
}

// compare orders offers that are done at about the same time: by strategy, by what else there is to do, by how many CPUs there are for
// steps that use several, and this machine before others.
func (o *offer) compare(other *offer) int {
	return cmp.Or(
		cmp.Compare(o.strategy, other.strategy),
		cmp.Compare(o.site.crowd(), other.site.crowd()),
		cmp.Compare(other.site.node.Info.Machine.CPUs, o.site.node.Info.Machine.CPUs),
		cmp.Compare(o.site.away(), other.site.away()),
		cmp.Compare(o.site.rank, other.site.rank),
	)
}
