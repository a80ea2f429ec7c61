// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mab-build/mab/crossbuild"
)

// partSeconds is what it takes to make an image out of a step's result and to unpack it again, beside its bytes.
const partSeconds = 0.5

// portion is a Portion while a plan is made.
type portion struct {
	wanted
	kind  PortionKind
	steps identities
	// users are the platforms that it is for.
	users []Goal
	// bytes is how much of it is taken to travel to a node.
	bytes float64
	// at is where it is done, or would be. Without a site nothing can do it.
	at placement
	// standing is where it was placed before and stays. Nil: it is placed now.
	standing *Portion
}

func (p *planner) newPortion(kind PortionKind, goal Goal, g *crossbuild.Graph) *portion {
	out := &portion{kind: kind, steps: identitiesOf(g)}
	out.wanted = wanted{name: goal.Target, target: goal.Platform, number: p.subject(goal, kind), whole: p.form(g), part: out}
	out.bytes = p.travelling(g)
	return out
}

// travelling is how many bytes of a portion travelled the last time, or are taken to.
func (p *planner) travelling(g *crossbuild.Graph) float64 {
	sum := int64(0)
	if len(p.s.Travelled) > 0 {
		if p.travelled == nil {
			p.travelled = map[string]int64{}
			for key, bytes := range p.s.Travelled {
				step, _, _ := strings.Cut(key, "-")
				p.travelled[step+"-"] += max(bytes, 0)
			}
		}
		for i := range g.Steps {
			sum += p.travelled[stepKey(g.Steps[i].Name)]
		}
	}
	if sum == 0 {
		return contextSize
	}
	return float64(sum)
}

// arrival is when a site has the portion, in seconds from now.
func (o *portion) arrival(s *site) float64 {
	from := o.at.site
	if from == s {
		return o.at.finish
	}
	out := o.at.finish + partSeconds
	for _, end := range []*site{from, s} {
		if end.away > 0 {
			out += roundTrips * max(end.node.Info.Latency, 0)
		}
	}
	if from.away > 0 && from.node.Info.Down > 0 {
		out += o.bytes / from.node.Info.Down
	}
	if s.away > 0 && s.node.Info.Up > 0 {
		out += o.bytes / s.node.Info.Up
	}
	return out
}

// stand has portions stay where they are.
func (p *planner) stand() {
	for i := range p.s.Standing {
		standing := &p.s.Standing[i]
		portion := p.portionOf(standing)
		if portion == nil {
			if p.usable(standing, standing.goals()) != nil {
				p.staying = append(p.staying, *standing)
			}
			continue
		}
		// Those that are not planned now may need it as well.
		portion.users = both(standing.goals(), portion.users)
		if site := p.usable(standing, portion.users); site != nil {
			portion.standing = standing
			portion.at = placement{offer: offer{site: site, strategy: standing.Strategy}}
		}
	}
}

// portionOf is what a portion of an earlier plan of this build is in this one; nil if that has no need of it.
func (p *planner) portionOf(standing *Portion) *portion {
	if standing.Kind == PortionShared {
		return p.shared
	}
	for i := range p.wanted {
		w := &p.wanted[i]
		if w.private != nil && w.private.standing == nil && standing.of(w.goal(), w.whole.graph) {
			return w.private
		}
	}
	return nil
}

// usable is the site of a portion that stays; nil if it cannot, because its node is not there or is not to be used for one of its users.
func (p *planner) usable(standing *Portion, users []Goal) *site {
	at := slices.IndexFunc(p.sites, func(s site) bool { return s.node.Name == standing.Node })
	if at < 0 {
		return nil
	}
	for _, user := range users {
		if _, out := p.sites[at].excluded(user, standing.Strategy); out {
			return nil
		}
	}
	return &p.sites[at]
}

// both is a, and what else is in b.
func both(a, b []Goal) []Goal {
	out := slices.Clone(a)
	for _, p := range b {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// placeShared gives what platforms share to a site, and reports whether one can have it.
func (p *planner) placeShared() bool {
	o := p.shared
	if o == nil || o.standing != nil {
		return true
	}
	o.at = p.seat(&o.wanted)
	if o.at.site == nil {
		return false
	}
	o.at.site.take(o.at.finish)
	return true
}

// dissolve has what platforms share be done by those themselves, if all are on its node.
func (p *planner) dissolve(placed []placement) {
	o := p.shared
	if o == nil || o.standing != nil {
		return
	}
	for i := range p.wanted {
		w := &p.wanted[i]
		apart := placed[i].apart && w.private.whole.waits && w.private.at.site != o.at.site
		if apart || w.whole.waits && placed[i].site != o.at.site {
			return
		}
	}
	p.shared = nil
}

// left is what is left of a platform at its home.
func (p *planner) left(i int, c *placement) *crossbuild.Graph {
	w := &p.wanted[i]
	var less []*crossbuild.Graph
	if p.shared != nil && w.whole.waits {
		less = append(less, p.s.Division.Shared)
	}
	if c.apart {
		less = append(less, p.s.Division.Private[i])
	}
	if len(less) == 0 {
		return w.whole.graph
	}
	return w.whole.graph.Without(less...)
}

// elsewhere tells what of a platform is done by portions, for its reason.
func (p *planner) elsewhere(w *wanted, c *placement) []string {
	type done struct {
		site *site
		runs []runs
	}
	var list []done
	if p.shared != nil && w.whole.waits {
		list = append(list, done{p.shared.at.site, w.whole.gone})
	}
	if c.apart {
		private := w.private
		if len(list) > 0 && list[0].site == private.at.site {
			list[0].runs = w.rest.gone
		} else {
			list = append(list, done{private.at.site, private.whole.runs})
		}
	}
	var out []string
	for _, d := range list {
		var names []string
		n := 0
		for _, r := range d.runs {
			n += r.steps
			names = append(names, p.platforms[r.platform].String())
		}
		are := "are"
		if n == 1 {
			are = "is"
		}
		where := "on " + d.site.node.Name
		if d.site == c.site {
			where = "here once for all"
		}
		out = append(out, fmt.Sprintf("%s of %s %s done %s", runSteps(n), strings.Join(names, " and "), are, where))
	}
	return out
}

// portions are those of the plan: what is shared first, then those of the request in its order, then what stays for others.
func (p *planner) portions(placed []placement) []Portion {
	out := []Portion{}
	if p.shared != nil {
		out = append(out, p.describe(p.shared))
	}
	for i := range p.wanted {
		if placed[i].apart {
			out = append(out, p.describe(p.wanted[i].private))
		}
	}
	return append(out, p.staying...)
}

func (p *planner) describe(o *portion) Portion {
	if o.standing != nil {
		out := *o.standing
		out.Platforms, out.Targets = platformsOf(o.users), targetsOf(o.users)
		return out
	}
	info := o.at.site.node.Info
	out := Portion{
		Kind: o.kind, Node: o.at.site.node.Name, Strategy: o.at.strategy, Platforms: platformsOf(o.users), Targets: targetsOf(o.users),
		Expected: p.told(&o.wanted, o.at.finish),
		Steps:    []crossbuild.Handling{},
	}
	// The strategies are the answers of the same question, so that this cannot fail.
	d, err := crossbuild.Decide(o.whole.graph, info, p.anywhere)
	if err != nil {
		out.Why = err.Error()
		return out
	}
	out.Strategy, out.Problems = d.Strategy, problems(d.Steps, info)
	out.Why = strings.Join(append([]string{d.Why}, o.at.reasons()...), "; ")
	for _, h := range d.Steps {
		if h.How != crossbuild.RunsNothing {
			out.Steps = append(out.Steps, h)
		}
	}
	return out
}

// travels finds what travels of the plan's portions.
func (p *planner) travels(plan *Plan) error {
	if len(plan.Portions) == 0 {
		return nil
	}
	cut, err := crossbuild.NewCut(p.s.Graphs, p.s.Division, plan.Places(p.s.Graphs))
	if err != nil {
		return fmt.Errorf("planning what travels: %w", err)
	}
	needed := make([][]string, len(cut.Parts)) // by which nodes
	for i, part := range cut.Parts {
		for _, n := range part.Needs {
			needed[n] = append(needed[n], cut.Parts[i].Node)
		}
		for _, g := range part.Graphs {
			needed[i] = append(needed[i], plan.Assignments[g].Node)
		}
	}
	for i := range cut.Parts {
		part := &cut.Parts[i]
		portion := plan.portion(part)
		if portion == nil {
			continue
		}
		t := Travel{Step: part.Step.Name, Paths: part.Paths}
		for _, node := range needed[i] {
			if node != part.Node && !slices.Contains(t.To, node) {
				t.To = append(t.To, node)
			}
		}
		if len(t.To) > 0 {
			t.Bytes = p.s.Travelled[TravelKey(t.Step, t.Paths)]
			portion.add(t)
		}
	}
	return nil
}

// add adds what travels, or where to.
func (p *Portion) add(t Travel) {
	at := slices.IndexFunc(p.Travels, func(o Travel) bool { return o.Step == t.Step && slices.Equal(o.Paths, t.Paths) })
	if at < 0 {
		p.Travels = append(p.Travels, t)
		return
	}
	// What was there before may be another plan's.
	p.Travels = slices.Clone(p.Travels)
	old := &p.Travels[at]
	to := slices.Clone(old.To)
	for _, node := range t.To {
		if !slices.Contains(to, node) {
			to = append(to, node)
		}
	}
	old.To, old.Bytes = to, max(old.Bytes, t.Bytes)
}
