// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

const (
	// logLines is how much of a lost node's log an error shows, and logWait how long it is waited for.
	logLines = 12
	logWait  = 3 * time.Second
)

// recover has other nodes, or the same one in another way, take over a task that failed, if it is not the user's to mend.
func (r *run) recover(ctx context.Context, t task, err error) error {
	t.lead = false // The plan is made.
	var part *PartError
	if errors.As(err, &part) {
		return r.recoverPart(ctx, t, part)
	}
	out := r.exclusions(ctx, t.member, t.goals(), err)
	if len(out) > 0 {
		return r.replace(ctx, t, err, out)
	}
	var failure *solver.Failure
	switch {
	case assistedIn(err) != nil:
		return r.plainly(ctx, t, err)
	case errors.As(err, &failure) && failure.PushUnreachable() && r.canSend(t):
		r.say(fmt.Sprintf("%s does not reach the registry: its image is pushed from here (%v)", t.member.Name, failure))
		t.through = true
		r.performAll(ctx, t)
		return nil
	case r.common().KeepGoing && len(t.platforms) > 1:
		for _, p := range t.platforms {
			one := t
			one.platforms = []platforms.Platform{p}
			r.performAll(ctx, one)
		}
		return nil
	}
	return r.fail(t, err)
}

// performAll runs tasks beside the rest of the build.
func (r *run) performAll(ctx context.Context, list ...task) {
	for _, t := range list {
		r.goOn(func() error { return r.perform(ctx, t) })
	}
}

// replace plans a task anew without what failed, and has that performed.
func (r *run) replace(ctx context.Context, t task, err error, without []Exclusion) error {
	r.exclude(without...)
	list, stuck := r.replan(t.goals())
	again := slices.IndexFunc(list, func(a Assignment) bool { return a.Node == t.member.Name && without[0].Any })
	switch {
	case stuck != nil && (len(r.members) == 1 && t.member.reached == nil || without[0].Strategy != 0):
		// There was no choice, or the step is known that failed.
		return r.fail(t, err)
	case stuck != nil:
		return r.fail(t, &StrandedError{Goals: t.goals(), err: err, stuck: stuck})
	case again >= 0:
		return fmt.Errorf("planning %s again: %s is chosen, and was to be left out", list[again].goal(), t.member.Name)
	}
	r.say(fmt.Sprintf("%s on %s is planned anew, because %s: %s", words(t.goals()), t.member.Name, without[0].Why, strings.Join(summaries(list), "; ")))
	r.performAll(ctx, r.parts(list)...)
	return nil
}

// canSend reports whether a task's image can take the way through this machine: a tar that is written straight to its place cannot be
// written twice.
func (r *run) canSend(t task) bool {
	return t.member.reached != nil && !t.through && (!r.alone() || t.of.delivery.repeatable())
}

// fail takes note of a failure for good. Unless the others are to go on, it ends the build.
func (r *run) fail(t task, err error) error {
	if !r.common().KeepGoing {
		return err
	}
	r.mu.Lock()
	r.faults = append(r.faults, fault{t.goals(), err})
	r.mu.Unlock()
	r.say(fmt.Sprintf("%s failed on %s; the others go on", words(t.goals()), t.member.Name))
	return nil
}

// exclusions are what a failure says must not be tried again; none if trying elsewhere would fail as well.
func (r *run) exclusions(ctx context.Context, m *member, goals []Goal, err error) []Exclusion {
	whole := func(why string) []Exclusion { return []Exclusion{{Node: m.Name, Any: true, Why: why}} }
	var failure *solver.Failure
	switch {
	case isLost(err) || m.gone():
		return whole("it was lost")
	case !errors.As(err, &failure):
		return nil
	case failure.DiskFull(), failure.SaysDiskFull() && r.full(ctx, m):
		return whole("its disk is full")
	case failure.SourceUnreachable() && len(r.members) > 1:
		var out []Exclusion
		for _, g := range goals {
			out = append(out, Exclusion{Node: m.Name, Any: true, Target: g.Target, Platform: g.Platform, Why: "it does not reach what the build is made from"})
		}
		return out
	}
	return crashed(m, failure, err)
}

// scarceRoom is how many free bytes a disk has at most on which a step that speaks of a full one is believed.
const scarceRoom = 64 << 20

// full asks a node how much room is left on its disk.
func (r *run) full(ctx context.Context, m *member) bool {
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	info, err := m.client.Info(ctx)
	return err == nil && info.Machine.Disk > 0 && info.Machine.Free < scarceRoom
}

// crashed are the exclusions of an emulator that crashed in a step which it ran, or hung.
func crashed(m *member, failure *solver.Failure, err error) []Exclusion {
	var step *StepError
	if !errors.As(err, &step) || step.How != crossbuild.RunsEmulated {
		return nil
	}
	why := emulatorFault(failure, step.Step.Name)
	if why == "" {
		return nil
	}
	var out []Exclusion
	for _, g := range goalsOf(step.Platforms, step.Targets) {
		out = append(out, Exclusion{Node: m.Name, Strategy: crossbuild.Emulated, Target: g.Target, Platform: g.Platform, Why: why})
	}
	return out
}

// replan assigns goals again, beside what is under way. To them may come some that were done, and are to be done again.
func (r *run) replan(list []Goal) ([]Assignment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done, spoiled := r.done, r.spoiled
	list = r.spoil(list)
	s := r.situation()
	s.Graphs, s.Targets = nil, nil
	if r.division != nil {
		s.Division = &crossbuild.Division{Shared: r.division.Shared}
	}
	for i, g := range r.graphs {
		if !slices.Contains(list, r.goals[i]) {
			continue
		}
		s.Graphs, s.Targets = append(s.Graphs, g), append(s.Targets, r.goals[i].Target)
		if r.division != nil {
			s.Division.Private = append(s.Division.Private, r.division.Private[i])
		}
	}
	for _, a := range r.underway() {
		if !slices.Contains(list, a.goal()) {
			s.Under = append(s.Under, a)
		}
	}
	s.Standing = r.plan.Portions
	again, err := NewPlan(s)
	if err != nil {
		r.done, r.spoiled = done, spoiled // Nothing takes their place.
		return nil, err
	}
	plan := r.plan.with(again, r.excluded)
	plan.keepShared(r.plan, again.Assignments)
	cut, err := crossbuild.NewCut(r.graphs, r.divided(), r.places(plan))
	if err != nil {
		return nil, err
	}
	if r.cut != nil || len(r.members) > 1 {
		r.cut = cut
	}
	r.plan = plan
	r.memory.tell(r.underway(), r.plan.Portions...)
	return again.Assignments, nil
}

// underway are the assignments whose tasks have not ended. The caller holds the lock.
func (r *run) underway() []Assignment {
	var out []Assignment
	for _, a := range r.plan.Assignments {
		if !slices.ContainsFunc(r.done, func(o *outcome) bool { return o.task.has(a.goal()) }) {
			out = append(out, a)
		}
	}
	return out
}

// situation is what plans of this build are made of. The caller holds the lock.
func (r *run) situation() Situation {
	return Situation{
		Graphs: r.graphs, Targets: names(r.goals), Build: r.buildPlatform, Division: r.division, Farm: r.farm(),
		Allowed: r.common().Strategies, Without: r.without, Unassisted: r.unassisted, History: r.memory.known, Seed: r.memory.seed,
	}
}

func summaries(list []Assignment) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = fmt.Sprintf("%s goes to %s, %s", a.goal(), a.Node, a.Strategy)
	}
	return out
}

// say shows a line with the progress.
func (r *run) say(line string) { r.cfg.Display.Note([]string{line}) }

// isLost reports whether the solver or the way to it is gone.
func isLost(err error) bool {
	var lost interface{ Lost() bool }
	return errors.As(err, &lost) && lost.Lost()
}

// fault is the failure of those tasks that failed while others went on, in the order of the request.
func (r *run) fault() error {
	if len(r.faults) == 0 {
		return nil
	}
	list := ordered(r.faults, func(f fault) int { return r.rank(f.goals) })
	if len(list) == 1 {
		return list[0].err
	}
	out := &FailuresError{errs: &multierror.Error{}}
	for _, f := range list {
		out.errs = multierror.Append(out.errs, f.err)
	}
	return out
}

// FailuresError is a build of which several platforms failed, each by itself.
type FailuresError struct{ errs *multierror.Error }

// Error gives each failure in a line of its own, in the order of the request.
func (e *FailuresError) Error() string {
	lines := make([]string, len(e.errs.Errors))
	for i, err := range e.errs.Errors {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Hint gives what mends each, once.
func (e *FailuresError) Hint() string { return hints(e.errs.Errors) }

// Lost reports whether each was a node that went away: another failure is there on the next try, too.
func (e *FailuresError) Lost() bool {
	return !slices.ContainsFunc(e.errs.Errors, func(err error) bool { return !isLost(err) })
}

// Unwrap gives the failures.
func (e *FailuresError) Unwrap() error { return e.errs }

// StrandedError is a part of a build that failed on a node, and that no other can take over.
type StrandedError struct {
	Goals      []Goal
	err, stuck error
}

// Error tells what failed, and why nothing could take its place.
func (e *StrandedError) Error() string {
	text := e.err.Error()
	var unbuildable *UnbuildableError
	if errors.As(e.stuck, &unbuildable) && len(unbuildable.Platforms) > 0 {
		text += "\nnothing could take its place: " + strings.ReplaceAll(e.stuck.Error(), "\n", "; ")
	}
	return text
}

// Hint is that of what failed.
func (e *StrandedError) Hint() string { return hints([]error{e.err, e.stuck}) }

// Lost reports true: on another node the build may succeed.
func (*StrandedError) Lost() bool { return true }

// Unwrap gives what failed. Why nothing took its place is no cause, or the build would count as one that no node can do.
func (e *StrandedError) Unwrap() error { return e.err }

// explain adds what only the coordinator can find out: why a solver is gone, and which platforms a base image has.
func (r *run) explain(ctx context.Context, of *commission, m *member, err error) error {
	var failure *solver.Failure
	var part *PartError
	switch {
	case err == nil, ctx.Err() != nil, errors.As(err, &part):
		return err
	case !errors.As(err, &failure):
		if m.gone() {
			return r.lost(ctx, m, err)
		}
		return err
	case failure.Lost():
		return r.lost(ctx, m, err)
	case failure.Base != "":
		return r.base(ctx, of, failure)
	}
	r.mu.Lock()
	plan := r.plan
	r.mu.Unlock()
	return of.delivery.explain(plan.locate(m.Name, failure), plan != nil)
}

// lost tells why a node is gone: with the link, or with the end of its solver's log.
func (r *run) lost(ctx context.Context, m *member, err error) error {
	out := &LostError{Node: m.Name, err: err}
	switch {
	case m.reached == nil && m.info.OnDemand:
		out.Log = solver.LogTail(r.cfg.Attach.State)
	case m.gone():
		out.link = m.reached.Err()
	case m.reached != nil:
		asking, cancel := context.WithTimeout(ctx, logWait)
		defer cancel()
		out.Log, _ = m.reached.Log(asking, logLines)
	}
	return out
}

// LostError is a node that went away in the middle of a build.
type LostError struct {
	Node string
	// Log is the end of its log.
	Log       string
	err, link error
}

// Error names the node and shows the end of its log.
func (e *LostError) Error() string {
	if e.link != nil {
		return fmt.Sprintf("building on %s: the link was lost: %v", e.Node, e.link)
	}
	text := fmt.Sprintf("building on %s: the solver went away", e.Node)
	if e.Log != "" {
		text += "; the end of its log:\n" + e.Log
	}
	return text
}

// Hint says that nothing is lost.
func (e *LostError) Hint() string {
	if e.Node != nodes.Local {
		return "run the same command again when " + e.Node + " is back: steps that were done are not run again"
	}
	return "run the same command again: a new solver starts, and steps that were done are not run again"
}

// Lost reports true: the build may succeed elsewhere.
func (e *LostError) Lost() bool { return true }

// Unwrap gives the cause.
func (e *LostError) Unwrap() error { return e.err }
