// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// platform is a platform to be assigned.
type wanted struct {
	target platforms.Platform
	number int // the planner's of the target
	form   form
	work   workload
	// warm is the newest record of it, whose node has the cache. Zero: it was never built.
	warm Record
}

// form is a graph and what of it a plan looks at.
type form struct {
	graph *crossbuild.Graph
	// runs are how many steps run programs of which platform, and steps all of them.
	runs  []runs
	steps int
	// shape is equal for graphs of the same target which run programs of the same platforms: what holds for one in this respect holds for all.
	shape int
	// sends is whether it needs files of the machine that builds.
	sends bool
}

// runs are steps that run programs of a platform, by the planner's number of it.
type runs struct{ platform, steps int }

// cost is how long a step takes on a site in the mean.
func (f *form) cost(s *site) float64 {
	if f.steps == 0 {
		return 1
	}
	sum := 0.0
	for _, r := range f.runs {
		sum += float64(r.steps) * s.speeds[r.platform].cost
	}
	return sum / float64(f.steps)
}

// catalog numbers the platforms and shapes of a plan, so that they are compared once and not for each node.
type catalog struct {
	platforms []platforms.Platform
	number    map[platforms.Platform]int
	shapes    map[string]int
	// examples has the least graph of each shape.
	examples []*crossbuild.Graph
}

func (c *catalog) platform(p platforms.Platform) int {
	n, ok := c.number[p]
	if !ok {
		n = len(c.platforms)
		c.number[p] = n
		c.platforms = append(c.platforms, p)
	}
	return n
}

func (c *catalog) form(g *crossbuild.Graph) form {
	f := form{graph: g}
	key := strconv.AppendInt(make([]byte, 0, 16), int64(c.platform(g.Target)), 10)
	for i := range g.Steps {
		s := &g.Steps[i]
		f.sends = f.sends || s.Kind == crossbuild.KindLocal
		if !s.Runs() {
			continue
		}
		n := c.platform(s.Platform)
		at := slices.IndexFunc(f.runs, func(r runs) bool { return r.platform == n })
		if at < 0 {
			at = len(f.runs)
			f.runs = append(f.runs, runs{platform: n})
			key = strconv.AppendInt(append(key, ' '), int64(n), 10)
		}
		f.runs[at].steps++
		f.steps++
	}
	shape, ok := c.shapes[string(key)]
	if !ok {
		shape = len(c.examples)
		c.shapes[string(key)] = shape
		c.examples = append(c.examples, f.example(c))
	}
	f.shape = shape
	return f
}

// example is a graph of the form's shape with one step for each platform.
func (f *form) example(c *catalog) *crossbuild.Graph {
	g := &crossbuild.Graph{Target: f.graph.Target}
	for _, r := range f.runs {
		g.Steps = append(g.Steps, crossbuild.Step{Kind: crossbuild.KindExec, Platform: c.platforms[r.platform]})
	}
	return g
}

// newWanted reads the graphs of a situation.
func newWanted(s *Situation, c *catalog) []wanted {
	out := make([]wanted, len(s.Graphs))
	for i, g := range s.Graphs {
		out[i] = wanted{target: g.Target, number: c.platform(g.Target), form: c.form(g)}
	}
	return out
}

// lacks are the platforms that the site does not run and the graph needs, as a list in words.
func (f *form) lacks(c *catalog, s *site) string {
	var out []string
	for _, r := range f.runs {
		if s.speeds[r.platform].cost == 0 {
			out = append(out, c.platforms[r.platform].String())
		}
	}
	return strings.Join(out, " and ")
}
