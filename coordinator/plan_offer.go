// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"cmp"
	"fmt"

	"github.com/mab-build/mab/crossbuild"
)

const (
	// clearly is how many times as early a slower strategy must be done to be chosen: estimates are not better than that.
	clearly = 2
	// noise is the factor within which times are equal.
	noise = 1.05
	// warmth is what is left to do where the cache is, and steadiness where even that did nothing the last time.
	warmth, steadiness = 0.5, 0.25
	// moving is how many seconds are to be won by leaving a cache: times are not known so exactly, and most builds find most in it.
	moving = 1.0
)

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
	// apart is that its private portion is done elsewhere, and warm that the site has the cache of the last build, and no other builds to do.
	apart, warm bool
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
		// Most platforms have no private portion, and many offers are made: each is written once, where it stays.
		p.offers = append(p.offers, offer{})
		if !p.offer(w, k, &p.offers[len(p.offers)-1]) {
			p.offers = p.offers[:len(p.offers)-1]
		}
	}
	if len(p.offers) == 0 {
		return placement{}
	}
	best := p.choose()
	if at, with := p.beside(w, best); with != nil && len(p.offers) > 1 {
		out := p.placement(w, at)
		out.why = fmt.Sprintf("it has RUN steps in common with %s", with.goal())
		return out
	}
	return p.placement(w, best)
}

// beside returns the place of an offer, by no worse a strategy than the best, of the node that builds what w has programs in common with, and
// what that is; nil if there is none.
func (p *planner) beside(w *wanted, best int) (int, *wanted) {
	for _, like := range w.like {
		for i := range p.offers {
			if p.homes[like] != nil && p.offers[i].site == p.homes[like] && tier(p.offers[i].strategy) <= tier(p.offers[best].strategy) {
				return i, &p.wanted[like]
			}
		}
	}
	return best, nil
}

// offer finds what w comes to on a site; false if that cannot or may not have it.
func (p *planner) offer(w *wanted, at int, o *offer) bool {
	s := &p.sites[at]
	arrival := 0.0
	if w.whole.waits {
		arrival = p.shared.arrival(s)
	}
	can := p.offered(w, &w.whole, at, arrival, o)
	private := w.private
	if private == nil || private.at.site == nil || private.at.site == s {
		return can
	}
	var apart offer
	if p.offered(w, &w.rest, at, max(arrival, private.arrival(s)), &apart) &&
		(!can || !s.builds || private.standing != nil || apart.late*clearly < o.late) {
		*o, can = apart, true
		o.apart = true
	}
	return can
}

// offered finds what a form of w comes to on a site, which has what it waits for at a time; false if it cannot have it.
func (p *planner) offered(w *wanted, f *form, at int, arrival float64, o *offer) bool {
	if f.seconds[at] == 0 {
		return false
	}
	s := &p.sites[at]
	o.site, o.strategy, o.arrival, o.crowd, o.warm = s, p.strategy(f, s), arrival, s.crowd(), s.busy == 0 && w.warmed(s)
	o.seconds = p.onto(w, f, s, f.seconds[at], o.strategy)
	if w.whole.waits && p.shared.standing == nil && p.shared.at.site == s {
		o.crowd -= 1 / float64(len(s.free)) // By then that is done.
	}
	busy := s.busyFor(o.seconds, o.crowd)
	o.finish = s.next + busy
	if arrival > 0 {
		o.idle = f.steps == 0
		needs := arrival + busy*workOf(f.after)/f.work()
		if o.idle {
			o.finish = needs
		}
		o.finish = max(o.finish, needs)
	}
	o.late = o.finish - p.base
	return true
}

// onto is what a form of w takes on a site, which may have its cache or have to be sent its context first.
func (p *planner) onto(w *wanted, f *form, s *site, seconds float64, strategy crossbuild.Strategy) float64 {
	if w.warmed(s) {
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
		if tier(o.strategy) != t || o.late > least*noise && (!o.warm || o.late > least+moving) {
			continue
		}
		if c := o.compare(&p.offers[best]); c < 0 || c == 0 && i < best {
			best = i
		}
	}
	return best
}

// compare orders offers that are done at about the same time: where the cache is, by strategy, by what else there is to do, by how many CPUs there are for
// steps that use several, and this machine before others.
func (o *offer) compare(other *offer) int {
	if o.warm != other.warm {
		if o.warm {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(o.strategy, other.strategy),
		cmp.Compare(o.crowd, other.crowd),
		cmp.Compare(other.site.node.Info.Machine.CPUs, o.site.node.Info.Machine.CPUs),
		cmp.Compare(o.arrival, other.arrival),
		cmp.Compare(o.site.away, other.site.away),
		cmp.Compare(o.site.rank, other.site.rank),
	)
}
