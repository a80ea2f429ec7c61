// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// FrontendPlatform is run.frontendPlatform on a node that has own.
func FrontendPlatform(build, own platforms.Platform, cut *crossbuild.Cut) platforms.Platform {
	m := &member{}
	m.Info.Own = own
	return (&run{buildPlatform: build}).frontendPlatform(&task{member: m, cut: cut})
}

// Usable are the names of run.usable.
func Usable(farm []string, without ...Exclusion) []string {
	r := &run{without: without, members: membersOf(farm)}
	var out []string
	for _, m := range r.usable() {
		out = append(out, m.Name)
	}
	return out
}

func membersOf(names []string) []*member {
	var out []*member
	for _, name := range names {
		out = append(out, &member{Node: nodes.Node{Entry: nodes.Entry{Name: name, URL: "ssh://" + name}}})
	}
	return out
}

// Chain is a build of first on node b and second on node d, of which a made what both share, and c made of that what second needs.
type Chain struct {
	run           *run
	shared, apart *making
	second        *outcome
	cut           *crossbuild.Cut
}

// NewChain is a chain of which second is done, if done, or about to be, and whose node a was given up.
func NewChain(request *Request, done bool) *Chain {
	first, second := request.Platforms[0], request.Platforms[1]
	parts := []crossbuild.Part{
		{Node: "a", Key: "shared", Step: &crossbuild.Step{Name: "RUN shared", Identity: "shared"}, Graphs: []int{0, 1}},
		{Node: "c", Key: "apart", Step: &crossbuild.Step{Name: "RUN apart"}, Needs: []int{0}, Graphs: []int{1}},
	}
	of := &commission{request: request}
	r := &run{
		commissions: []*commission{of}, goals: of.goals(request.Platforms), members: membersOf([]string{"a", "b", "c", "d"}), goOn: func(func() error) {},
		graphs:   []*crossbuild.Graph{{Target: first}, {Target: second}},
		division: &crossbuild.Division{Shared: &crossbuild.Graph{Steps: []crossbuild.Step{*parts[0].Step}}, Private: make([]*crossbuild.Graph, 2)},
		without:  []Exclusion{{Node: "a", Any: true, Why: "it was lost"}},
		plan: &Plan{
			Assignments: []Assignment{{Platform: first, Node: "b"}, {Platform: second, Node: "d"}},
			Portions: []Portion{
				{Kind: PortionShared, Node: "a", Platforms: request.Platforms}, {Kind: PortionPrivate, Node: "c", Platforms: request.Platforms[1:]},
			},
		},
	}
	c := &Chain{run: r, cut: &crossbuild.Cut{Parts: parts}}
	c.shared = &making{part: parts[0], member: r.members[0], goals: of.goals(request.Platforms)}
	c.apart = &making{part: parts[1], member: r.members[2], goals: of.goals(request.Platforms[1:]), needs: []*making{c.shared}}
	r.makings = []*making{c.shared, c.apart}
	c.second = &outcome{task: task{member: r.members[3], of: of, platforms: request.Platforms[1:]}, used: []*making{c.apart}}
	if done {
		r.done = []*outcome{c.second}
	}
	return c
}

// Spoil is run.spoil.
func (c *Chain) Spoil(list []platforms.Platform) []platforms.Platform {
	return platformsOf(c.run.spoil(c.run.commissions[0].goals(list)))
}

// Remade reports whether a part of the cut is begun anew.
func (c *Chain) Remade(at int) bool {
	m := c.run.making(context.Background(), c.cut, at)
	return m != c.shared && m != c.apart
}

// Fail has the shared part fail as err says, and the one that needs it for want of that, and the second task be planned anew for want of both. It
// returns the nodes that are given up.
func (c *Chain) Fail(err error) []string {
	r := c.run
	r.without, r.cfg.Note = nil, func(string) {}
	for _, m := range r.makings {
		m.done = make(chan struct{})
		close(m.done)
	}
	c.shared.err = err
	c.apart.err = c.shared.wait(context.Background())
	var part *PartError
	if !errors.As(c.apart.wait(context.Background()), &part) {
		return nil
	}
	_ = r.recoverPart(context.Background(), c.second.task, part) // There is nothing to plan in the chain's graphs.
	var out []string
	for _, e := range r.without {
		out = append(out, e.Node)
	}
	return out
}

// Finish ends the second task, where no node can do it again, and returns what that comes to for the build, and what it failed of.
func (c *Chain) Finish() (build, fault error) {
	for _, m := range c.run.members[1:] {
		c.run.without = append(c.run.without, Exclusion{Node: m.Name, Any: true, Why: "its disk is full"})
	}
	c.run.spoil(c.run.all()[:1])
	build = c.run.finish(context.Background(), c.second)
	return build, c.run.fault()
}
