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

// planner fills the sites with the platforms of a situation, and with what of them is done apart.
type planner struct {
	*catalog
	s      *Situation
	sites  []site
	wanted []wanted
	// shared is what several of wanted have in common and is done apart. Nil: nothing is.
	shared *portion
	// subjects number what things are measured of.
	subjects map[subject]int
	// strategies are what Decide said, by shape and class; zero is a node that is not able to.
	strategies []crossbuild.Strategy
	classes    int
	offers     []offer // used again for each platform
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
	platform platforms.Platform
	portion  PortionKind
}

// offer is what a platform or a portion comes to on a site.
type offer struct {
	site     *site
	strategy crossbuild.Strategy
	// seconds is what it takes there, and finish when it is done, in seconds from now; late is how long after the planner's base that is.
	seconds, finish, late float64
	// crowd is how many other builds the site has for each of its slots, and arrival when it has what the platform waits for.
	crowd, arrival float64
	// idle is that it needs no slot: it only puts together what comes from elsewhere.
	idle bool
	// apart is that its private portion is done elsewhere.
	apart bool
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
		p.shared = p.newPortion(PortionShared, p.s.Build, d.Shared)
		less = append(less, p.shared.steps)
	}
	p.wanted = make([]wanted, len(p.s.Graphs))
	for i, g := range p.s.Graphs {
		w := &p.wanted[i]
		*w = wanted{target: g.Target, number: p.subject(g.Target, ""), whole: p.form(g, less...)}
		if w.whole.waits {
			p.shared.users = append(p.shared.users, g.Target)
		}
		if d == nil || i >= len(d.Private) || d.Private[i] == nil {
			continue
		}
		w.private = p.newPortion(PortionPrivate, g.Target, d.Private[i])
		w.private.users = []platforms.Platform{g.Target}
		w.private.whole.open(g, less)
		w.rest = p.form(g, append(less[:len(less):len(less)], w.private.steps)...)
	}
	if p.shared != nil && len(p.shared.users) == 0 {
		p.shared = nil
	}
}

func (p *planner) subject(of platforms.Platform, kind PortionKind) int {
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
		return s.excluded(w.target, how)
	}
	for _, user := range w.part.users {
		if why, out := s.excluded(user, how); out {
			return why, true
		}
	}
	return "", false
}

// estimate finds what each platform and portion takes on each site.
func (p *planner) estimate() {
	list := groups(p.s.History)
	p.weigh(list)
	p.remember(list)
	cost := p.costOf(list)
	known := map[int]workload{}
	p.all(func(w *wanted) {
		work, ok := known[w.number]
		if !ok {
			kind := PortionKind("")
			if w.part != nil {
				kind = w.part.kind
			}
			work = workloadOf(subject{w.target, kind}, list, cost)
			if !work.known {
				work.fast, work.slow = 1, 1
			}
			known[w.number] = work
			w.warm, _ = p.s.History.last(w.target, kind)
		}
		w.work = work
		p.fill(w, &w.whole)
		if w.private != nil {
			p.fill(w, &w.rest)
		}
	})
}

// fill finds what a form of w takes on each site.
func (p *planner) fill(w *wanted, f *form) {
	f.seconds = make([]float64, len(p.sites))
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
		of := max(0, slices.IndexFunc(p.wanted, func(w wanted) bool { return list[i].portion == "" && w.target == list[i].platform }))
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
		number, ok := p.subjects[subject{g.platform, g.portion}]
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
		number, ok := p.subjects[subject{g.platform, g.portion}]
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

// place gives a platform to a site, and its private portion to another if it is to be done apart; to none if none can have it.
func (p *planner) place(w *wanted) placement {
	private := w.private
	if private != nil && private.standing == nil {
		private.at = p.seat(&private.wanted)
	}
	out := p.seat(w)
	if out.site == nil {
		return out
	}
	if out.apart && private.standing == nil {
		private.at.site.take(private.at.finish)
	}
	if !out.idle {
		out.site.take(out.finish)
	}
	return out
}

// seat finds the site that is best for w; none if none can have it.
func (p *planner) seat(w *wanted) placement {
	p.base = 0
	if w.whole.waits && p.shared != nil {
		p.base = p.shared.at.finish
	}
	p.offers = p.offers[:0]
	for k := range p.sites {
		if o, ok := p.offer(w, k); ok {
			p.offers = append(p.offers, o)
		}
	}
	if len(p.offers) == 0 {
		return placement{}
	}
	return p.placement(w, p.choose())
}

// offer is what w comes to on a site; false if that cannot or may not have it.
func (p *planner) offer(w *wanted, at int) (offer, bool) {
	s := &p.sites[at]
	arrival := 0.0
	if w.whole.waits {
		arrival = p.shared.arrival(s)
	}
	o := p.offered(w, &w.whole, at, arrival)
	private := w.private
	if private == nil || private.at.site == nil || private.at.site == s {
		return o, o.site != nil
	}
	apart := p.offered(w, &w.rest, at, max(arrival, private.arrival(s)))
	apart.apart = true
	switch {
	case apart.site == nil:
	case o.site == nil, !s.builds, private.standing != nil, apart.late*clearly < o.late:
		return apart, true
	}
	return o, o.site != nil
}

// offered is what a form of w comes to on a site, which has what it waits for at a time. Without a site it cannot have it.
func (p *planner) offered(w *wanted, f *form, at int, arrival float64) offer {
	if f.seconds[at] == 0 {
		return offer{}
	}
	s := &p.sites[at]
	strategy := p.strategy(f, s)
	o := offer{site: s, strategy: strategy, seconds: p.onto(w, f, s, f.seconds[at], strategy), crowd: s.crowd(), arrival: arrival}
	if w.whole.waits && p.shared.standing == nil && p.shared.at.site == s {
		o.crowd -= 1 / float64(len(s.free)) // By then that is done.
	}
	busy := s.busyFor(o.seconds, o.crowd)
	o.finish = s.free[s.first()] + busy
	if arrival > 0 {
		o.idle = f.steps == 0
		needs := arrival + busy*workOf(f.after)/f.work()
		if o.idle {
			o.finish = needs
		}
		o.finish = max(o.finish, needs)
	}
	o.late = o.finish - p.base
	return o
}

// onto is what a form of w takes on a site, which may have its cache or have to be sent its context first.
func (p *planner) onto(w *wanted, f *form, s *site, seconds float64, strategy crossbuild.Strategy) float64 {
	if p.warm(w, s) {
		if w.warm.Cached >= mostly {
			return seconds * steadiness
		}
		return seconds * warmth
	}
	if s.measurement(w.number, strategy) > 0 {
		return seconds
	}
	context := 0.0
	if f.sends {
		context = contextSize
	}
	return seconds + s.start(context)
}

// choose returns the place of the best offer.
func (p *planner) choose() int {
	best := -1
	for t := range tier(crossbuild.Emulated) + 1 {
		at := p.earliest(t)
		if at >= 0 && (best < 0 || p.offers[at].late*clearly < p.offers[best].late) {
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
		if o := &p.offers[i]; tier(o.strategy) == t && (best < 0 || o.late < least) {
			least, best = o.late, i
		}
	}
	for i := range p.offers {
		o := &p.offers[i]
		if tier(o.strategy) != t || o.late > least*noise {
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
		cmp.Compare(o.crowd, other.crowd),
		cmp.Compare(other.site.node.Info.Machine.CPUs, o.site.node.Info.Machine.CPUs),
		cmp.Compare(o.arrival, other.arrival),
		cmp.Compare(o.site.away(), other.site.away()),
		cmp.Compare(o.site.rank, other.site.rank),
	)
}
