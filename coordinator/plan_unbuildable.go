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
)

// Unbuildable is a platform that no node can build.
type Unbuildable struct {
	// Target is as in Assignment.
	Target   string             `json:"target,omitempty"`
	Platform platforms.Platform `json:"platform"`
	Reason   string             `json:"reason"`
	Mend     string             `json:"mend,omitempty"`
	// Lacks are the platforms whose programs this machine would have to run; where it is no node, the first one that lacks any.
	Lacks []platforms.Platform `json:"-"`
}

// UnbuildableError is a build with platforms that no node can build. Nothing was started.
type UnbuildableError struct{ Platforms []Unbuildable }

// Error names each platform and the reason.
func (e *UnbuildableError) Error() string {
	parts := make([]string, len(e.Platforms))
	for i, p := range e.Platforms {
		parts[i] = fmt.Sprintf("no node can build %s: %s", Goal{p.Target, p.Platform}, p.Reason)
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

const (
	// maxReasons is how many different reasons an error gives, maxNames how many nodes it names for each, and maxMends how many mends.
	maxReasons, maxNames, maxMends = 3, 3, 2
)

// refusal is why nodes cannot build a platform.
type refusal struct {
	nodes        []string
	reason, mend string
	// somewhere is a mend that is not to be made on the node.
	somewhere bool
	lacks     []platforms.Platform
	excluded  bool
}

// unbuildable tells why no node can have a platform: each reason once, with the nodes that it is true of.
func (p *planner) unbuildable(w *wanted) Unbuildable {
	if len(p.sites) == 0 {
		return Unbuildable{Target: w.name, Platform: w.target, Reason: "there is no node"}
	}
	var lacks []platforms.Platform
	var list []refusal
	for i := range p.sites {
		s := &p.sites[i]
		r := p.refuse(w, s)
		if len(r.lacks) > 0 && (lacks == nil || s.away == 0) {
			lacks = r.lacks
		}
		at := slices.IndexFunc(list, func(o refusal) bool { return o.reason == r.reason && o.mend == r.mend && o.excluded == r.excluded })
		if at < 0 {
			at = len(list)
			list = append(list, r)
		}
		list[at].nodes = append(list[at].nodes, s.node.Name)
	}
	return Unbuildable{Target: w.name, Platform: w.target, Reason: reasons(list), Mend: mends(list), Lacks: lacks}
}

// reasons joins the first refusals, and counts the nodes of the others.
func reasons(list []refusal) string {
	var out []string
	rest := 0
	for i, r := range list {
		if i < maxReasons {
			out = append(out, r.String())
		} else {
			rest += len(r.nodes)
		}
	}
	if rest > 0 {
		out = append(out, "nor can "+count(rest, "more node"))
	}
	return strings.Join(out, "; ")
}

// mends joins what mends the first refusals, with the node that it is to be done on where there are several.
func mends(list []refusal) string {
	several := len(list) > 1 || len(list[0].nodes) > 1
	var out []string
	for _, r := range list[:min(len(list), maxReasons)] {
		mend := r.mend
		if several && mend != "" && !r.somewhere {
			mend = "on " + r.nodes[0] + ": " + mend
		}
		if mend != "" && !slices.Contains(out, mend) && len(out) < maxMends {
			out = append(out, mend)
		}
	}
	return strings.Join(out, "; or ")
}

// String is the reason as a part of a sentence, with the nodes' names.
func (r refusal) String() string {
	names := strings.Join(r.nodes, ", ")
	if n := len(r.nodes) - maxNames; n > 0 {
		names = fmt.Sprintf("%s and %d more", strings.Join(r.nodes[:maxNames], ", "), n)
	}
	switch {
	case r.excluded && len(r.nodes) == 1:
		return names + " is not used: " + r.reason
	case r.excluded:
		return names + " are not used: " + r.reason
	}
	return "on " + names + " " + r.reason
}

// refuse tells why one node cannot have a platform, with the mend that its probe gave.
func (p *planner) refuse(w *wanted, s *site) refusal {
	form := p.at(w, s)
	if why, out := w.excluded(s, p.strategy(form, s)); out {
		return refusal{reason: why, excluded: true}
	}
	d, err := crossbuild.Decide(form.graph, s.node.Info, p.anywhere)
	if err == nil {
		return refusal{
			reason: fmt.Sprintf("it would be %s (%s), which --strategy %s forbids", d.Strategy, d.Why, p.s.Allowed),
			mend:   "allow it with --strategy " + p.s.Allowed.String() + "," + d.Strategy.String(), somewhere: true,
		}
	}
	return unable(&s.node.Info, err)
}

// unable says what a node lacks.
func unable(info *nodes.Info, err error) refusal {
	out := refusal{reason: err.Error()}
	var missing *crossbuild.UnableError
	if !errors.As(err, &missing) {
		return out
	}
	var mends []string
	out.somewhere = true
	for _, d := range missing.Missing {
		problem, mend := info.Missing(d.Platform)
		if problem == "" {
			mend = "build it on a machine that runs " + d.Platform.String()
		} else {
			out.reason += " (" + problem + ")"
			out.somewhere = false
		}
		if mend != "" {
			mends = append(mends, mend)
		}
		out.lacks = append(out.lacks, d.Platform)
	}
	out.mend = strings.Join(mends, "; ")
	return out
}
