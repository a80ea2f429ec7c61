// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// settled is how long a node gets to be seen gone, when something could not be fetched from it.
const settled = 5 * time.Second

// recoverPart goes on without a part that was to come from another node: another one makes it, or, where only the way to it failed, the
// task does.
func (r *run) recoverPart(ctx context.Context, t task, failed *PartError) error {
	wanted := failed.making
	failed = failed.root()
	m := failed.making
	if failed.transfer {
		waiting, cancel := context.WithTimeout(ctx, settled)
		if err := m.gone(waiting); err != nil {
			failed = err
		}
		cancel()
	}
	out := r.exclusions(ctx, m.member, m.goals, failed.err)
	switch {
	case len(out) == 0 && assistedIn(failed) != nil:
		m.lost.Do(func() { r.giveUp(m) })
		return r.plainly(ctx, t, failed)
	case len(out) == 0 && (!failed.transfer || !r.able(t)):
		return r.fail(t, failed)
	case len(out) == 0:
		r.say(fmt.Sprintf("%s on %s builds %q itself, because %v", words(t.goals()), t.member.Name, wanted.part.Step.Name, failed))
		t.itself = append(slices.Clone(t.itself), wanted.part.Key)
		r.performAll(ctx, t)
		return nil
	}
	m.lost.Do(func() {
		r.exclude(out...)
		r.giveUp(m)
		r.say(fmt.Sprintf("%s does not make %s, because %s", m.member.Name, m, out[0].Why))
	})
	list, stuck := r.replan(t.goals())
	if stuck != nil {
		return r.fail(t, &StrandedError{Goals: t.goals(), err: failed, stuck: stuck})
	}
	r.say(fmt.Sprintf("%s is planned anew: %s", words(t.goals()), strings.Join(summaries(list), "; ")))
	r.performAll(ctx, r.parts(list)...)
	return nil
}

// able reports whether a task's node can do all steps of its platforms.
func (r *run) able(t task) bool {
	return !slices.ContainsFunc(t.goals(), func(g Goal) bool {
		_, err := crossbuild.Decide(r.graphs[r.place(g)], t.member.Info, nil)
		return err != nil
	})
}

// giveUp has a part, and what else its node made of the same portion, be made anew.
func (r *run) giveUp(m *making) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.makings {
		if other.part.Node == m.part.Node && r.onlyFor(&other.part) == r.onlyFor(&m.part) {
			other.givenUp = true
		}
	}
}

// spoil has what platforms share be made anew for all of them, if the node that made it is not used any more and one of list needs it: two
// platforms of one index do not hold different results of one step. It returns list with those that were done. The caller holds the lock.
func (r *run) spoil(list []Goal) []Goal {
	lost := slices.IndexFunc(r.plan.Portions, func(p Portion) bool {
		return p.shared() && r.excluded(p.Node) && len(union(p.goals(), list)) > 0
	})
	for _, m := range r.makings {
		m.givenUp = m.givenUp || lost >= 0 && m.part.Node == r.plan.Portions[lost].Node
	}
	kept := r.done[:0:0]
	for _, o := range r.done {
		if !o.stale() {
			kept = append(kept, o)
			continue
		}
		list = union(r.all(), list, o.task.goals())
		if o.share != nil {
			r.spoiled = append(r.spoiled, o.share)
		}
	}
	r.done = kept
	return list
}

// excluded reports whether a node is not used any more at all.
func (r *run) excluded(node string) bool {
	return slices.ContainsFunc(r.without, func(e Exclusion) bool {
		return e.Node == node && e.Any && e.Platform == platforms.Platform{}
	})
}

// stale reports whether a part that it is made of is made anew. The caller holds the run's lock.
func (o *outcome) stale() bool { return slices.ContainsFunc(o.used, (*making).stale) }

// again does a task anew which was done with a part that has become stale meanwhile.
func (r *run) again(ctx context.Context, out *outcome) error {
	if out.share != nil {
		if err := out.share.discard(); err != nil {
			return err
		}
	}
	list, stuck := r.replan(out.task.goals())
	if stuck != nil {
		r.mu.Lock()
		lost := out.used[slices.IndexFunc(out.used, (*making).stale)]
		r.mu.Unlock()
		err := fmt.Errorf("building %s again: %s, made on %s, is not used any more", words(out.task.goals()), lost, lost.member.Name)
		return r.fail(out.task, &StrandedError{Goals: out.task.goals(), err: err, stuck: stuck})
	}
	r.performAll(ctx, r.parts(list)...)
	return nil
}

// union is what is in one of the lists, in the order of all.
func union(all []Goal, lists ...[]Goal) []Goal {
	var out []Goal
	for _, g := range all {
		if slices.ContainsFunc(lists, func(l []Goal) bool { return slices.Contains(l, g) }) {
			out = append(out, g)
		}
	}
	return out
}

// with is the plan with what was planned anew, without what platforms share on nodes that are not used any more. The plan that others hold does not change.
func (p *Plan) with(again *Plan, without func(node string) bool) *Plan {
	out := *p
	out.Assignments = slices.Clone(p.Assignments)
	for _, a := range again.Assignments {
		i := slices.IndexFunc(out.Assignments, func(old Assignment) bool { return old.goal() == a.goal() })
		out.Assignments[i] = a
	}
	out.Portions = nil
	for _, old := range p.Portions {
		if slices.ContainsFunc(again.Portions, old.replacedBy) || old.privateOf(again.Assignments) || old.shared() && without(old.Node) {
			continue
		}
		out.Portions = append(out.Portions, old)
	}
	out.Portions = append(out.Portions, again.Portions...)
	return &out
}

// keepShared has what platforms share still be made apart, on the node that makes it for the first of list, if that is how it was planned
// and the plan of list alone does not need it so: those that are under way will.
func (p *Plan) keepShared(before *Plan, list []Assignment) {
	was := slices.IndexFunc(before.Portions, Portion.shared)
	if was < 0 || slices.ContainsFunc(p.Portions, Portion.shared) {
		return
	}
	portion := before.Portions[was]
	portion.Node, portion.Travels = list[0].Node, nil
	portion.Why = fmt.Sprintf("%s builds %s", list[0].Node, list[0].goal())
	p.Portions = append(p.Portions, portion)
}

// replacedBy reports whether another portion is of the same steps: there is one that is shared, and one for each platform of its own.
func (p Portion) replacedBy(other Portion) bool {
	return p.Kind == other.Kind && (p.Kind == PortionShared || p.goals()[0] == other.goals()[0])
}

func (p Portion) privateOf(list []Assignment) bool {
	return p.Kind == PortionPrivate && slices.ContainsFunc(list, func(a Assignment) bool { return a.goal() == p.goals()[0] })
}

func (p Portion) shared() bool { return p.Kind == PortionShared }
