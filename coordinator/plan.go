// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// Assignment is which node builds a platform, and how.
type Assignment struct {
	// Target is the name of the request whose platform it is. Empty: there is one request alone.
	Target   string              `json:"target,omitempty"`
	Platform platforms.Platform  `json:"platform"`
	Node     string              `json:"node"`
	Strategy crossbuild.Strategy `json:"strategy"`
	// Why is a sentence without capital letter and full stop.
	Why   string                `json:"why"`
	Steps []crossbuild.Handling `json:"steps"`
	// Problems are what is known to be wrong with the emulators that steps run under, each with its mend.
	Problems []string `json:"problems,omitempty"`
	// Expected is how many seconds it is expected to take from now on, waiting for what is before it on the node included. Zero: nothing
	// of this build was ever measured.
	Expected float64 `json:"expected_seconds,omitempty"`
	// Alternatives are other nodes, the best first; not all where there are many.
	Alternatives []Alternative `json:"alternatives,omitempty"`
}

// Alternative is a node that could build a platform, or could not.
type Alternative struct {
	Node string `json:"node"`
	// Strategy is how it would be built there. Zero: it cannot be.
	Strategy crossbuild.Strategy `json:"strategy,omitzero"`
	// Expected is as in Assignment.
	Expected float64 `json:"expected_seconds,omitempty"`
	// Why it was not chosen, without capital letter and full stop.
	Why string `json:"why_not"`
}

func (a *Assignment) goal() Goal { return Goal{a.Target, a.Platform} }

// Count returns how many of the assignment's steps are handled as how says.
func (a *Assignment) Count(how crossbuild.How) int {
	n := 0
	for _, s := range a.Steps {
		if s.How == how {
			n++
		}
	}
	return n
}

// Plan is what a build does. It is not changed once made.
type Plan struct {
	// Assignments has each platform of each request once, in the order of the requests.
	Assignments []Assignment `json:"platforms"`
	// Build is BUILDPLATFORM. Zero: it is not known.
	Build platforms.Platform `json:"build_platform,omitzero"`
	// BuildWhy tells whose platform that is, for a sentence. Empty: that of all nodes.
	BuildWhy string `json:"build_platform_why,omitempty"`
	// Portions are what is done apart from the platforms that need it: what several of them share, and what is faster elsewhere.
	Portions []Portion `json:"portions"`
	// Shared are the steps that several platforms of one node have in common; its solver runs each once.
	Shared []crossbuild.Common `json:"shared"`
}

// NewPlan assigns each graph to the node where it is expected to be done first, and to each graph one, whatever the farm. What takes longest
// is placed first. Costs are those of the history; where there is none, the defaults of costs and the nodes' scores. A slower strategy is
// chosen over a faster one only where it is clearly done first. Nodes that are expected to be equal are chosen from by the seed; without
// one in the user's order. An empty set of strategies allows all.
//
// With a division, what graphs share is placed first, and done once. A home that does not run the build platform, or is clearly slower, gets
// what runs programs of that platform from a node that is better at it. If that leaves a platform which nothing can build, nothing is done
// apart.
//
// It reads nothing but s, and does not change it. The error is an *UnbuildableError, unless the division is none of the graphs.
func NewPlan(s Situation) (*Plan, error) {
	if s.Build == (platforms.Platform{}) && len(s.Farm) == 1 {
		s.Build = s.Farm[0].Info.Own
	}
	if s.Travelled == nil {
		s.Travelled = s.History.Travelled()
	}
	s.unassist()
	if !s.divides() {
		s.Division, s.Standing = nil, nil
		return newPlan(&s)
	}
	plan, err := newPlan(&s)
	var apart, whole *UnbuildableError
	if !errors.As(err, &apart) {
		return plan, err
	}
	s.Division, s.Standing = nil, nil
	plan, err = newPlan(&s)
	if errors.As(err, &whole) && len(apart.Platforms) > 0 && len(apart.Platforms) < len(whole.Platforms) {
		return nil, apart
	}
	return plan, err
}

// divides reports whether something may be done apart: there are several nodes, one of which runs the build platform natively.
func (s *Situation) divides() bool {
	if s.Division == nil || len(s.Farm) < 2 {
		return false
	}
	return slices.ContainsFunc(s.Farm, func(n nodes.Node) bool {
		return n.Info.Native(s.Build) && !slices.ContainsFunc(s.Without, func(e Exclusion) bool {
			return e.Node == n.Name && e.Any && e.Platform == platforms.Platform{}
		})
	})
}

// newPlan makes the plan by the division of s. The error is an *UnbuildableError without platforms if what they share has no place.
func newPlan(s *Situation) (*Plan, error) {
	p := newPlanner(s)
	plan := &Plan{Assignments: make([]Assignment, len(s.Graphs)), Build: s.Build, BuildWhy: buildWhy(s.Farm, s.Build), Shared: []crossbuild.Common{}}
	var wrong UnbuildableError
	if !p.placeShared() {
		return nil, &wrong
	}
	placed := make([]placement, len(p.wanted))
	for _, i := range p.order() {
		placed[i] = p.place(&p.wanted[i])
		p.homes[i] = placed[i].site
	}
	for i := range p.wanted {
		if placed[i].site == nil {
			wrong.Platforms = append(wrong.Platforms, p.unbuildable(&p.wanted[i]))
		}
	}
	if len(wrong.Platforms) > 0 {
		return nil, &wrong
	}
	p.dissolve(placed)
	left := make([]*crossbuild.Graph, len(p.wanted))
	for i := range p.wanted {
		left[i] = p.left(i, &placed[i])
		plan.Assignments[i] = p.assignment(&p.wanted[i], placed[i], left[i])
	}
	for _, graphs := range p.graphs(placed, left) {
		plan.Shared = append(plan.Shared, crossbuild.Shared(graphs)...)
	}
	plan.Portions = p.portions(placed)
	return plan, p.travels(plan)
}

func problems(steps []crossbuild.Handling, info nodes.Info) []string {
	var seen []platforms.Platform
	var out []string
	for _, h := range steps {
		if h.How != crossbuild.RunsEmulated && h.How != crossbuild.RunsAssisted || slices.Contains(seen, h.Step.Platform) {
			continue
		}
		seen = append(seen, h.Step.Platform)
		if problem, mend := info.Trouble(h.Step.Platform); problem != "" {
			out = append(out, fmt.Sprintf("%s: %s; mend: %s", h.Step.Platform, problem, mend))
		}
	}
	return out
}

// Lines tells the plan in one line for each platform and each portion, and one for each problem.
func (p *Plan) Lines() []string {
	out := make([]string, 0, len(p.Assignments)+len(p.Portions)+1)
	if p.BuildWhy != "" {
		out = append(out, fmt.Sprintf("BUILDPLATFORM is %s, %s", p.Build, p.BuildWhy))
	}
	for i := range p.Portions {
		out = append(out, p.Portions[i].line())
		out = append(out, p.Portions[i].Problems...)
	}
	for i := range p.Assignments {
		a := &p.Assignments[i]
		out = append(out, fmt.Sprintf("%s on %s: %s, %s", a.goal(), a.Node, a.Strategy, a.Why))
		out = append(out, a.Problems...)
	}
	return out
}

// locate says for which platforms of a node a step was that failed there, and how it was run. A failure of no such step stays as it is.
func (p *Plan) locate(node string, failure *solver.Failure) error {
	if p == nil || failure.Step == "" {
		return failure
	}
	out := &StepError{err: failure}
	var goals []Goal
	look := func(on string, of []Goal, steps []crossbuild.Handling) {
		// Others may run the same step in another way.
		for _, h := range steps {
			if on == node && (h.Step.Digest == failure.Step || h.Aid.Makes(failure.Step)) {
				goals = both(goals, of)
				out.Node, out.How, out.Step, out.Aid = on, h.How, h.Step, h.Aid
			}
		}
	}
	for i := range p.Assignments {
		a := &p.Assignments[i]
		look(a.Node, []Goal{a.goal()}, a.Steps)
	}
	for i := range p.Portions {
		look(p.Portions[i].Node, p.Portions[i].goals(), p.Portions[i].Steps)
	}
	out.Platforms, out.Targets = platformsOf(goals), targetsOf(goals)
	if out.Step == nil {
		return failure
	}
	return out
}

// StepError is a step that failed.
type StepError struct {
	// Platforms are those that the step was for, in the order of the plan, and Targets the names of their requests. Nil: there is one alone.
	Platforms []platforms.Platform
	Targets   []string
	Node      string
	How       crossbuild.How
	Step      *crossbuild.Step
	// Aid is what it was assisted by. Nil: nothing.
	Aid *crossbuild.Aid
	err *solver.Failure
}

// Error names the platforms, the node and the step.
func (e *StepError) Error() string {
	how := ""
	if e.How != crossbuild.RunsNothing {
		how = " (" + string(e.How) + ")"
	}
	return fmt.Sprintf("building %s on %s%s: step %q: %v", words(goalsOf(e.Platforms, e.Targets)), e.Node, how, e.Step.Name, e.err)
}

// Unwrap gives the solver's error.
func (e *StepError) Unwrap() error { return e.err }
