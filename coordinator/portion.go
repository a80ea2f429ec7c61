// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// PortionKind is what a portion is of the platforms that it is for, as JSON prints it.
type PortionKind string

// The kinds of portions.
const (
	// PortionShared is what several platforms have in common.
	PortionShared PortionKind = "shared"
	// PortionPrivate is what runs programs of BUILDPLATFORM for one platform alone.
	PortionPrivate PortionKind = "private"
)

// Portion is what one node does for platforms that others build, or that it builds itself beside others.
type Portion struct {
	Kind     PortionKind         `json:"kind"`
	Node     string              `json:"node"`
	Strategy crossbuild.Strategy `json:"strategy"`
	// Why is a sentence without capital letter and full stop.
	Why string `json:"why"`
	// Platforms are those that it is for, in the order of the requests.
	Platforms []platforms.Platform `json:"for"`
	// Targets are the names of the requests that these are of. Nil: there is one alone.
	Targets []string `json:"targets,omitempty"`
	// Steps are those that run programs, and how.
	Steps []crossbuild.Handling `json:"steps"`
	// Problems and Expected are as in Assignment.
	Problems []string `json:"problems,omitempty"`
	Expected float64  `json:"expected_seconds,omitempty"`
	// Travels are what goes to other nodes of it. Empty: all that need it are built on Node.
	Travels []Travel `json:"travels,omitempty"`
}

// Travel is what goes from one node to others.
type Travel struct {
	// Step is the name of the step whose result it is.
	Step string `json:"step"`
	// Paths are as in crossbuild.Part: what is carried over; empty is all layers.
	Paths []string `json:"paths,omitempty"`
	// To are the nodes that it goes to, each once.
	To []string `json:"to"`
	// Bytes is how much went to one of them the last time. Zero: that is not known.
	Bytes int64 `json:"bytes,omitempty"`
}

// TravelKey names what travels of a step's result in the history. Nothing of the step can be read from it, but keys of one step begin alike.
func TravelKey(step string, paths []string) string {
	return stepKey(step) + shortHash(strings.Join(paths, "\x00"))
}

func stepKey(step string) string { return shortHash(step) + "-" }

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// Places tells which node does what of graphs, which are those that the plan was made of, or some of them. What the plan does not have is
// nowhere.
func (p *Plan) Places(graphs []*crossbuild.Graph) crossbuild.Places {
	out := crossbuild.Places{Home: make([]string, len(graphs)), Private: make([]string, len(graphs))}
	target := make([]string, len(graphs))
	for i, at := range p.order(graphs) {
		if at >= 0 {
			out.Home[i], target[i] = p.Assignments[at].Node, p.Assignments[at].Target
		}
	}
	for at := range p.Portions {
		portion := &p.Portions[at]
		if portion.Kind == PortionShared {
			out.Shared = portion.Node
			continue
		}
		for i, g := range graphs {
			if portion.of(Goal{target[i], g.Target}, g) && out.Private[i] == "" {
				out.Private[i] = portion.Node
				break
			}
		}
	}
	return out
}

// order are the places of the assignments of graphs; -1 for one that has none. Of one platform there may be several.
func (p *Plan) order(graphs []*crossbuild.Graph) []int {
	out := make([]int, len(graphs))
	taken := make([]bool, len(p.Assignments))
	for i, g := range graphs {
		out[i] = -1
		for k := range p.Assignments {
			if !taken[k] && p.Assignments[k].Platform == g.Target {
				out[i], taken[k] = k, true
				break
			}
		}
	}
	return out
}

// goals are those that it is for.
func (p *Portion) goals() []Goal { return goalsOf(p.Platforms, p.Targets) }

// of reports whether a private portion is one of a graph, which is for a goal. There may be several graphs of a platform.
func (p *Portion) of(goal Goal, g *crossbuild.Graph) bool {
	if p.Kind != PortionPrivate || !slices.Contains(p.goals(), goal) || len(p.Steps) == 0 {
		return false
	}
	first := p.Steps[0].Step.Identity
	return slices.ContainsFunc(g.Steps, func(s crossbuild.Step) bool { return s.Identity == first })
}

// portion is the one that a part of the cut is of; nil if the plan has none. It is the one that has the last program of it.
func (p *Plan) portion(part *crossbuild.Part) *Portion {
	if len(part.Steps) == 0 {
		return nil
	}
	last := part.Steps[len(part.Steps)-1].Identity
	for i := range p.Portions {
		o := &p.Portions[i]
		if o.Node == part.Node && slices.ContainsFunc(o.Steps, func(h crossbuild.Handling) bool { return h.Step.Identity == last }) {
			return o
		}
	}
	return nil
}

// line tells of the portion.
func (p *Portion) line() string {
	head, steps := "part of ", runSteps(ran(p.Steps))
	if p.Kind == PortionShared {
		head, steps = "shared by ", steps+" run once"
	}
	parts := []string{fmt.Sprintf("%s%s on %s: %s, %s", head, words(p.goals()), p.Node, p.Strategy, steps)}
	for _, t := range p.Travels {
		parts = append(parts, t.String())
	}
	return strings.Join(parts, "; ")
}

// String tells what goes where, and how much it was the last time.
func (t Travel) String() string {
	what, verb := strings.Join(t.Paths, ", "), "goes"
	switch len(t.Paths) {
	case 0:
		what = fmt.Sprintf("all of %q", t.Step)
	case 1:
	default:
		verb = "go"
	}
	out := fmt.Sprintf("%s %s to %s", what, verb, strings.Join(t.To, ", "))
	if t.Bytes > 0 {
		out += fmt.Sprintf(" (%s last time)", units.HumanSize(float64(t.Bytes)))
	}
	return out
}

func runSteps(n int) string { return count(n, "RUN step") }
