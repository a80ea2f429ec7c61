// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// maxAlternatives is how many other nodes an assignment tells of.
const maxAlternatives = 8

// placement is a platform or a portion on its site, and what is to be said of it.
type placement struct {
	offer
	// why this site is a part of a sentence; "" where there is no other.
	why          string
	alternatives []Alternative
}

// placement describes the offer that was chosen, before it changes its site.
func (p *planner) placement(w *wanted, best int) placement {
	out := placement{offer: p.offers[best]}
	if len(p.sites) == 1 {
		return out
	}
	others := p.others(best)
	if w.part != nil {
		others = others[:min(1, len(others))] // Of a portion nobody is told of others.
	}
	out.alternatives = make([]Alternative, 0, min(maxAlternatives, len(p.sites)-1))
	for i := range others {
		out.alternatives = append(out.alternatives, Alternative{
			Node: others[i].site.node.Name, Strategy: others[i].strategy, Expected: p.told(w, others[i].finish), Why: p.worse(w, &others[i], &out.offer),
		})
	}
	if len(others) < maxAlternatives && w.part == nil {
		out.alternatives = append(out.alternatives, p.impossible(w, maxAlternatives-len(others))...)
	}
	if len(others) == 0 {
		out.why = p.onlyOne(w, &out)
	} else {
		out.why = p.better(w, &out.offer, &others[0])
	}
	return out
}

// told is what the user is told of a time: nothing if it is a guess.
func (p *planner) told(w *wanted, seconds float64) float64 {
	if !w.work.known {
		return 0
	}
	return max(0.1, math.Round(seconds*10)/10)
}

// others are the best offers but the one that was chosen, the best first.
func (p *planner) others(chosen int) []offer {
	out := make([]offer, 0, maxAlternatives+1)
	for i := range p.offers {
		o := &p.offers[i]
		if i == chosen || len(out) == maxAlternatives && o.finish >= out[len(out)-1].finish {
			continue
		}
		at := len(out)
		for at > 0 && o.finish < out[at-1].finish {
			at--
		}
		out = slices.Insert(out, at, *o)
		out = out[:min(len(out), maxAlternatives)]
	}
	return out
}

// impossible are nodes that cannot have the platform, in the user's order.
func (p *planner) impossible(w *wanted, most int) []Alternative {
	var out []Alternative
	for i := range p.sites {
		if len(out) == most {
			break
		}
		s := &p.sites[i]
		form := p.at(w, s)
		strategy := p.strategy(form, s)
		a := Alternative{Node: s.node.Name}
		switch why, excluded := w.excluded(s, strategy); {
		case excluded:
			a.Why = why
		case strategy == 0:
			a.Why = "it does not run " + form.lacks(p.catalog, s)
		case !p.allows(w, strategy):
			a.Strategy, a.Why = strategy, fmt.Sprintf("--strategy %s forbids it", p.s.Allowed)
		default:
			continue
		}
		out = append(out, a)
	}
	return out
}

// onlyOne tells why there is no choice.
func (p *planner) onlyOne(w *wanted, c *placement) string {
	for i := range p.sites {
		s := &p.sites[i]
		if why, out := w.excluded(s, p.strategy(p.at(w, s), s)); out && s != c.site {
			return fmt.Sprintf("%s is not used: %s", s.node.Name, why)
		}
	}
	if len(p.s.Allowed) > 0 {
		return fmt.Sprintf("no other node can build it by --strategy %s", p.s.Allowed)
	}
	return "no other node can build it"
}

// better tells why c was chosen, by comparing it to the next best.
func (p *planner) better(w *wanted, c, next *offer) string {
	if !w.work.known {
		if tier(next.strategy) > tier(c.strategy) {
			return fmt.Sprintf("it would be %s on %s%s", next.strategy, next.site.node.Name, slower(next.seconds/c.seconds))
		}
		return p.state(w, c.site)
	}
	here, there := "here", next.site.node.Name
	if w.warmed(c.site) {
		here += ", which built it last"
	}
	if notes := next.site.notes(); notes != "" {
		there += " (" + notes + ")"
	}
	return fmt.Sprintf("expected %s %s, %s on %s", duration(c.finish), here, duration(next.finish), there)
}

// slower is how many times as long something takes that was never measured, for the end of a sentence.
func slower(times float64) string {
	if times < 1.5 {
		return ""
	}
	return fmt.Sprintf(", taken to be %.0f times as slow", times)
}

// state is what speaks for a site.
func (p *planner) state(w *wanted, s *site) string {
	out := fmt.Sprintf("%d of %d slots free", s.vacant(), len(s.free))
	switch {
	case s.vacant() == 0:
		out = "expected to be free first"
	case len(s.free) == 1:
		out = "its slot is free"
	}
	if w.warmed(s) {
		out += ", built this last"
	}
	if s.full {
		out += ", though its disk is nearly full"
	}
	return out
}

// warmed reports whether a site has the cache of it.
func (w *wanted) warmed(s *site) bool {
	return w.endpoint == s.endpoint
}

// notes are what speaks against a site, as a list in words. Many platforms ask, and few change it.
func (s *site) notes() string {
	if s.noted == s.own+1 {
		return s.note
	}
	var out []string
	if s.busy > 0 {
		out = append(out, count(s.busy, "build")+" running")
	}
	if s.own > 0 {
		out = append(out, count(s.own, "platform")+" of this build")
	}
	if s.full {
		out = append(out, "disk nearly full")
	}
	s.note, s.noted = strings.Join(out, ", "), s.own+1
	return s.note
}

// worse tells what speaks against an offer beside the one that was chosen.
func (p *planner) worse(w *wanted, o, chosen *offer) string {
	if tier(o.strategy) > tier(chosen.strategy) {
		return "it would be " + o.strategy.String()
	}
	if notes := o.site.notes(); notes != "" {
		return notes
	}
	switch {
	case w.warmed(chosen.site):
		return chosen.site.node.Name + " built it last"
	case o.seconds > chosen.seconds*noise:
		return "it is slower"
	}
	return "it is no better"
}

// assignment is a platform on its site, with the steps that it takes there: those of left.
func (p *planner) assignment(w *wanted, c placement, left *crossbuild.Graph) Assignment {
	info := c.site.node.Info
	// The strategies are the answers of the same question, so that this cannot fail.
	d, err := crossbuild.Decide(left, info, p.anywhere)
	if err != nil {
		return Assignment{Target: w.name, Platform: w.target, Node: c.site.node.Name, Strategy: c.strategy, Why: err.Error()}
	}
	out := Assignment{
		Target: w.name, Platform: w.target, Node: c.site.node.Name, Strategy: d.Strategy, Why: d.Why, Steps: d.Steps, Problems: problems(d.Steps, info),
		Expected: p.told(w, c.finish), Alternatives: c.alternatives,
	}
	out.Why = strings.Join(append(append([]string{out.Why}, p.elsewhere(w, &c)...), c.reasons()...), "; ")
	return out
}

// reasons is why, if there is anything to say.
func (c *placement) reasons() []string {
	if c.why == "" {
		return nil
	}
	return []string{c.why}
}

// graphs are those that each site builds, in the order of the sites.
func (p *planner) graphs(placed []placement, left []*crossbuild.Graph) [][]*crossbuild.Graph {
	of := map[*site]int{}
	for i := range p.sites {
		of[&p.sites[i]] = i
	}
	out := make([][]*crossbuild.Graph, len(p.sites))
	for i, c := range placed {
		at := of[c.site]
		out[at] = append(out[at], left[i])
	}
	return out
}

// anywhere reports whether a node of the farm runs a platform natively.
func (p *planner) anywhere(target platforms.Platform) bool {
	known, ok := p.native[target]
	if !ok {
		known = slices.ContainsFunc(p.sites, func(s site) bool { return s.node.Info.Native(target) })
		p.native[target] = known
	}
	return known
}

// duration is a time in words that are no more exact than an estimate is.
func duration(seconds float64) string {
	switch {
	case seconds < 10:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case seconds < 600:
		return strconv.FormatFloat(seconds, 'f', 0, 64) + " s"
	}
	return strconv.FormatFloat(seconds/60, 'f', 0, 64) + " min"
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
