// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// wanted is a platform to be assigned, or a portion to be placed.
type wanted struct {
	// name is that of the request, and target the platform.
	name   string
	target platforms.Platform
	// like are others of the same platform, by their places, that have programs in common with it which are run at home.
	like []int
	// number is the planner's of the target, for what was measured of it.
	number int
	// whole is all that is done of it on one node, and rest what of that its home does where private is done elsewhere.
	whole, rest form
	// private is what of it is done on nodes of the build platform alone, if its home is none. Nil: there is no such thing.
	private *portion
	// part is the portion that it is. Nil: it is a platform.
	part *portion
	experience
}

// form is a graph and what of it a plan looks at: less the steps that are done apart.
type form struct {
	graph *crossbuild.Graph
	// runs are how many steps run programs of which platform, and steps all of them.
	runs  []runs
	steps int
	// gone are those that are done apart, and after how many of steps need what is done apart.
	gone  []runs
	after int
	// waits is whether it needs a program's result that is done apart.
	waits bool
	// shape is equal for graphs of the same target which run programs of the same platforms with the same aids: what holds for one in this respect holds for all.
	shape int
	// sends is whether it needs files of the machine that builds.
	sends bool
	// seconds are what it is expected to take on each site that is idle and has no cache; zero is one that cannot or may not have it.
	seconds []float64
}

// runs are steps that run programs of a platform, by the planner's number of it.
type runs struct {
	platform, steps int
	// aids are those that the steps have in common.
	aids []crossbuild.Aid
}

func add(list []runs, platform int, aids []crossbuild.Aid) []runs {
	at := slices.IndexFunc(list, func(r runs) bool { return r.platform == platform && sameAids(r.aids, aids) })
	if at < 0 {
		at = len(list)
		list = append(list, runs{platform: platform, aids: aids})
	}
	list[at].steps++
	return list
}

// work is how much it is, in seconds, where nothing was measured.
func (f *form) work() float64 { return workOf(f.steps) }

func workOf(steps int) float64 { return copySeconds + stepSeconds*float64(steps) }

// cost is how long a step takes on a site in the mean.
func (f *form) cost(s *site) float64 {
	if f.steps == 0 {
		return 1
	}
	sum := 0.0
	for _, r := range f.runs {
		sum += float64(r.steps) * r.cost(s)
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
	key      []byte // used again for each shape
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

// identities are steps.
type identities map[digest.Digest]struct{}

func identitiesOf(g *crossbuild.Graph) identities {
	out := make(identities, len(g.Steps))
	for i := range g.Steps {
		out[g.Steps[i].Identity] = struct{}{}
	}
	return out
}

// form reads a graph less the steps that are done apart.
func (c *catalog) form(g *crossbuild.Graph, less ...identities) form {
	f := form{graph: g}
	late := lateOf(g, less)
	for i := range g.Steps {
		s := &g.Steps[i]
		apart := among(less, s)
		f.sends = f.sends || !apart && s.Kind == crossbuild.KindLocal
		if !s.Runs() {
			continue
		}
		n := c.platform(s.Platform)
		if apart {
			f.gone = add(f.gone, n, nil)
			continue
		}
		f.runs = add(f.runs, n, s.Aids)
		f.steps++
		if late[s.Digest] {
			f.after++
		}
	}
	f.waits = len(f.gone) > 0
	f.shape = c.shape(&f)
	return f
}

func among(list []identities, s *crossbuild.Step) bool {
	for _, l := range list {
		if _, ok := l[s.Identity]; ok {
			return true
		}
	}
	return false
}

// lateOf finds the steps, by Digest, that are or need the result of a program which is done apart. What only fetches something is done
// wherever that is needed.
func lateOf(g *crossbuild.Graph, less []identities) map[digest.Digest]bool {
	var out map[digest.Digest]bool
	for i := range g.Steps {
		s := &g.Steps[i]
		late := s.Runs() && among(less, s)
		for _, in := range s.Inputs {
			late = late || out[in]
		}
		if late {
			if out == nil {
				out = make(map[digest.Digest]bool, len(g.Steps)-i)
			}
			out[s.Digest] = true
		}
	}
	return out
}

// open marks what of f, whose graph is a part of g, needs what of g is done apart.
func (f *form) open(g *crossbuild.Graph, less []identities) {
	late := lateOf(g, less)
	for i := range f.graph.Steps {
		s := &f.graph.Steps[i]
		if !late[s.Digest] {
			continue
		}
		f.waits = true
		if s.Runs() {
			f.after++
		}
	}
}

func (c *catalog) shape(f *form) int {
	c.key = strconv.AppendInt(c.key[:0], int64(c.platform(f.graph.Target)), 10)
	for _, r := range f.runs {
		c.key = strconv.AppendInt(append(c.key, ' '), int64(r.platform), 10)
		for i := range r.aids {
			c.key = strconv.AppendInt(append(c.key, '+'), int64(c.platform(r.aids[i].Native)), 10)
		}
	}
	shape, ok := c.shapes[string(c.key)]
	if !ok {
		shape = len(c.examples)
		c.shapes[string(c.key)] = shape
		c.examples = append(c.examples, f.example(c))
	}
	return shape
}

// example is a graph of the form's shape with one step for each platform.
func (f *form) example(c *catalog) *crossbuild.Graph {
	g := &crossbuild.Graph{Target: f.graph.Target}
	for _, r := range f.runs {
		g.Steps = append(g.Steps, crossbuild.Step{Kind: crossbuild.KindExec, Platform: c.platforms[r.platform], Aids: r.aids})
	}
	return g
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
