// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// Assignment is which node builds a platform, and how.
type Assignment struct {
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
	// Assignments has each platform that was asked for once, in the order of the request.
	Assignments []Assignment `json:"platforms"`
	// Shared are the steps that several platforms have in common; the solver runs each once.
	Shared []crossbuild.Common `json:"shared"`
}

// NewPlan assigns each graph to the node that builds it by the fastest strategy; of equal nodes, to the one with the fewest
// assignments, then to the first. An empty set of strategies allows all. The error is an *UnbuildableError.
func NewPlan(s Situation) (*Plan, error) {
	graphs, farm, allowed := s.Graphs, s.Farm, s.Allowed
	plan := &Plan{Assignments: []Assignment{}, Shared: crossbuild.Shared(graphs)}
	if plan.Shared == nil {
		plan.Shared = []crossbuild.Common{}
	}
	anywhere := func(p platforms.Platform) bool {
		for _, n := range farm {
			if n.Info.Native(p) {
				return true
			}
		}
		return false
	}
	load := map[string]int{}
	var wrong UnbuildableError
	for _, g := range graphs {
		best, problem := assign(g, farm, allowed, assigner{anywhere, load, s.on})
		if problem != nil {
			wrong.Platforms = append(wrong.Platforms, *problem)
			continue
		}
		load[best.Node]++
		plan.Assignments = append(plan.Assignments, *best)
	}
	if len(wrong.Platforms) > 0 {
		return nil, &wrong
	}
	return plan, nil
}

type assigner struct {
	anywhere func(platforms.Platform) bool
	load     map[string]int
	on       func(*nodes.Node, *crossbuild.Graph) (*crossbuild.Graph, error)
}

func assign(g *crossbuild.Graph, farm []nodes.Node, allowed crossbuild.Strategies, a assigner) (*Assignment, *Unbuildable) {
	var best *Assignment
	problem := &Unbuildable{Platform: g.Target, Reason: "there is no node"}
	for i, n := range farm {
		there, err := a.on(&n, g)
		if err != nil {
			continue
		}
		d, err := crossbuild.Decide(there, n.Info, a.anywhere)
		if err != nil {
			if i == 0 {
				*problem = unable(g.Target, n, err)
			}
			continue
		}
		if !allowed.Allows(d.Strategy) {
			if i == 0 {
				problem.Reason = fmt.Sprintf("on %s it would be %s (%s), which --strategy %s forbids", n.Name, d.Strategy, d.Why, allowed)
				problem.Mend = "allow it with --strategy " + allowed.String() + "," + d.Strategy.String()
			}
			continue
		}
		if best == nil || d.Strategy < best.Strategy || d.Strategy == best.Strategy && a.load[n.Name] < a.load[best.Node] {
			best = &Assignment{
				Platform: g.Target, Node: n.Name, Strategy: d.Strategy, Why: d.Why, Steps: d.Steps, Problems: problems(d.Steps, n.Info),
			}
		}
	}
	if best == nil {
		return nil, problem
	}
	return best, nil
}

func problems(steps []crossbuild.Handling, info nodes.Info) []string {
	var out []string
	for _, h := range steps {
		if h.How != crossbuild.RunsEmulated {
			continue
		}
		problem, mend := info.Trouble(h.Step.Platform)
		line := fmt.Sprintf("%s: %s; mend: %s", h.Step.Platform, problem, mend)
		if problem != "" && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// unable says what a node lacks, with the mend that its probe gave.
func unable(target platforms.Platform, n nodes.Node, err error) Unbuildable {
	out := Unbuildable{Platform: target, Reason: "on " + n.Name + " " + err.Error()}
	var missing *crossbuild.UnableError
	if !errors.As(err, &missing) {
		return out
	}
	var mends []string
	for _, d := range missing.Missing {
		problem, mend := n.Info.Missing(d.Platform)
		if problem == "" {
			mend = "build it on a machine that runs " + d.Platform.String()
		}
		if problem != "" {
			out.Reason += " (" + problem + ")"
		}
		if mend != "" {
			mends = append(mends, mend)
		}
		out.Lacks = append(out.Lacks, d.Platform)
	}
	out.Mend = strings.Join(mends, "; ")
	return out
}

// Unbuildable is a platform that no node can build.
type Unbuildable struct {
	Platform platforms.Platform `json:"platform"`
	Reason   string             `json:"reason"`
	Mend     string             `json:"mend,omitempty"`
	// Lacks are the platforms whose programs the node would have to run.
	Lacks []platforms.Platform `json:"-"`
}

// UnbuildableError is a build with platforms that no node can build. Nothing was started.
type UnbuildableError struct{ Platforms []Unbuildable }

// Error names each platform and the reason.
func (e *UnbuildableError) Error() string {
	parts := make([]string, len(e.Platforms))
	for i, p := range e.Platforms {
		parts[i] = fmt.Sprintf("no node can build %s: %s", p.Platform, p.Reason)
	}
	return strings.Join(parts, "\n")
}

// Hint gives the mends, each once.
func (e *UnbuildableError) Hint() string {
	var out []string
	seen := map[string]bool{"": true}
	for _, p := range e.Platforms {
		if !seen[p.Mend] {
			out = append(out, p.Mend)
		}
		seen[p.Mend] = true
	}
	return strings.Join(out, "\n")
}

// Lines tells the plan in one line for each platform, and one for each problem.
func (p *Plan) Lines() []string {
	out := make([]string, 0, len(p.Assignments))
	for _, a := range p.Assignments {
		out = append(out, fmt.Sprintf("%s on %s: %s, %s", a.Platform, a.Node, a.Strategy, a.Why))
		out = append(out, a.Problems...)
	}
	return out
}

// locate says for which platforms a step was that failed, and how it was run. A failure of no step of the plan stays as it is.
func (p *Plan) locate(failure *solver.Failure) error {
	if p == nil || failure.Step == "" {
		return failure
	}
	out := &StepError{err: failure}
	for _, a := range p.Assignments {
		for _, h := range a.Steps {
			if h.Step.Digest == failure.Step {
				out.Platforms = append(out.Platforms, a.Platform)
				out.Node, out.How, out.Step = a.Node, h.How, h.Step
			}
		}
	}
	if out.Step == nil {
		return failure
	}
	return out
}

// StepError is a step that failed.
type StepError struct {
	// Platforms are those that the step was for, in the order of the plan.
	Platforms []platforms.Platform
	Node      string
	How       crossbuild.How
	Step      *crossbuild.Step
	err       *solver.Failure
}

// Error names the platforms, the node and the step.
func (e *StepError) Error() string {
	how := ""
	if e.How != crossbuild.RunsNothing {
		how = " (" + string(e.How) + ")"
	}
	return fmt.Sprintf("building %s on %s%s: step %q: %v", words(e.Platforms), e.Node, how, e.Step.Name, e.err)
}

// Unwrap gives the solver's error.
func (e *StepError) Unwrap() error { return e.err }
