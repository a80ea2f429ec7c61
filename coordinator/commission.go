// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// Goal is one platform of one of the requests of a build.
type Goal struct {
	// Target is the request's name. Empty: there is one request alone.
	Target   string
	Platform platforms.Platform
}

// String is the platform, with the request's name if it has one.
func (g Goal) String() string {
	if g.Target == "" {
		return g.Platform.String()
	}
	return g.Platform.String() + " of " + g.Target
}

// commission is a request of a run, with what is its own of the run.
type commission struct {
	name     string
	request  *Request
	input    *solver.Input
	delivery *delivery
	// links are the commissions whose results are named contexts of this one, by the names of these.
	links map[string]*commission
	// renaming is what local directories and OCI layouts are called in graphs that are solved, where others have different ones of a name.
	renaming crossbuild.Renaming
	// ready is closed when targets are what the frontend made of it.
	ready   chan struct{}
	targets []solver.Target
}

func (c *commission) goals(list []platforms.Platform) []Goal {
	out := make([]Goal, len(list))
	for i, p := range list {
		out[i] = Goal{c.name, p}
	}
	return out
}

// beneath are the commissions that this one is made of the results of, directly or not, each once and after those that it is made of.
func (c *commission) beneath() []*commission {
	var out []*commission
	for _, name := range sortedNames(c.links) {
		linked := c.links[name]
		for _, other := range append(linked.beneath(), linked) {
			if !slices.Contains(out, other) {
				out = append(out, other)
			}
		}
	}
	return out
}

// companions are what a solve of the commission needs of others: their directories, secrets and agents.
func (c *commission) companions() []solver.Companion {
	var out []solver.Companion
	for _, other := range c.beneath() {
		out = append(out, solver.Companion{Request: &other.request.Request, Input: other.input, Renaming: other.renaming})
	}
	return out
}

// display is what shows the steps of a node: called by the request's and the node's name where there are others.
func (r *run) display(c *commission, m *member) *solver.Display {
	var names []string
	if c != nil && c.name != "" {
		names = append(names, c.name)
	}
	if len(r.members) > 1 {
		names = append(names, m.Name)
	}
	if len(names) == 0 {
		return r.cfg.Display
	}
	return r.cfg.Display.For(strings.Join(names, " "))
}

// common is a request for what all of a run have alike.
func (r *run) common() *Request { return r.commissions[0].request }

// several reports whether the run has more than one request.
func (r *run) several() bool { return len(r.commissions) > 1 }

// all are the goals of the run, in the order of the requests.
func (r *run) all() []Goal {
	var out []Goal
	for _, c := range r.commissions {
		out = append(out, c.goals(c.request.Platforms)...)
	}
	return out
}

// names are those of the requests that the graphs are of, as a situation has them.
func names(goals []Goal) []string {
	out := make([]string, len(goals))
	for i, g := range goals {
		out[i] = g.Target
	}
	return out
}

// platformsOf are the platforms of goals.
func platformsOf(goals []Goal) []platforms.Platform {
	out := make([]platforms.Platform, len(goals))
	for i, g := range goals {
		out[i] = g.Platform
	}
	return out
}

// targetsOf are the names of the requests that goals are of; nil if they have none.
func targetsOf(goals []Goal) []string {
	if !slices.ContainsFunc(goals, func(g Goal) bool { return g.Target != "" }) {
		return nil
	}
	return names(goals)
}

// goalsOf joins platforms and the names of their requests, where they have some.
func goalsOf(list []platforms.Platform, targets []string) []Goal {
	out := make([]Goal, len(list))
	for i, p := range list {
		out[i].Platform = p
		if i < len(targets) {
			out[i].Target = targets[i]
		}
	}
	return out
}

// commissionOf is that of a graph.
func (r *run) commissionOf(graph int) *commission {
	return r.commission(r.goals[graph].Target)
}

// place is that of a goal among the graphs.
func (r *run) place(g Goal) int { return slices.Index(r.goals, g) }

// rank is the place of a task in the order of the requests.
func (r *run) rank(goals []Goal) int {
	if len(goals) == 0 {
		return -1
	}
	return slices.Index(r.all(), goals[0])
}

func (r *run) registry(c *commission) (*manifestlist.Client, error) {
	return manifestlist.New(manifestlist.Config{Insecure: c.delivery.insecure, Registries: r.cfg.Attach.Config.Registries})
}

// wrap says which of several requests an error is about.
func (c *commission) wrap(err error) error {
	if err == nil || c.name == "" {
		return err
	}
	return fmt.Errorf("target %s: %w", c.name, err)
}
