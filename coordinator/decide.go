// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// decide makes the plan out of what the frontends made of the requests, when this is the last of them. If all of it is the lead's, its solve
// goes on.
func (r *run) decide(ctx context.Context, t *task, targets []solver.Target, spawn func(task)) (bool, error) {
	last, err := r.take(t.of, targets)
	if err != nil || !last {
		return false, err
	}
	r.clock.lap("frontend")
	if err := r.read(ctx, t); err != nil {
		return false, err
	}
	notes, err := r.makePlan(ctx)
	if err != nil {
		return false, err
	}
	r.clock.lap("plan")
	r.cfg.Display.Note(slices.Concat(notes, r.remarks(), r.plan.Lines()))
	if r.dry {
		return false, nil
	}
	parts := r.parts(r.plan.Assignments)
	if !r.several() && len(parts) == 1 && parts[0].member == t.member && !r.assists() {
		t.platforms = parts[0].platforms
		return true, nil
	}
	cut, err := crossbuild.NewCut(r.graphs, r.divided(), r.places(r.plan))
	if err != nil {
		return false, err
	}
	// The first task may fail, and be planned anew, before the last is begun.
	r.mu.Lock()
	r.cut = cut
	r.mu.Unlock()
	for _, part := range parts {
		part.cut = cut
		spawn(part)
	}
	return false, nil
}

// take keeps what the frontend made of a request, and reports whether that was the last of them.
func (r *run) take(c *commission, targets []solver.Target) (last bool, err error) {
	for i := range targets {
		t := &targets[i]
		if t.Definition, err = crossbuild.Renamed(t.Definition, c.renaming); err != nil {
			return false, err
		}
		for k := range t.Attestations {
			a := &t.Attestations[k]
			if a.Definition, err = crossbuild.Renamed(a.Definition, c.renaming); err != nil {
				return false, err
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.targets = targets
	close(c.ready)
	return !slices.ContainsFunc(r.commissions, func(c *commission) bool { return c.targets == nil }), nil
}

// read keeps the graphs of the build, and finds what of them can be done apart.
func (r *run) read(ctx context.Context, t *task) error {
	r.targets, r.goals, r.graphs, r.division = nil, nil, nil, nil
	own := r.own()
	for _, c := range r.commissions {
		for _, t := range c.targets {
			g, err := crossbuild.ReadOf(t.Platform, t.Definition, own[c])
			if err != nil {
				return fmt.Errorf("reading the graph for %s: %w", Goal{c.name, t.Platform}, err)
			}
			r.targets, r.goals, r.graphs = append(r.targets, t), append(r.goals, Goal{c.name, t.Platform}), append(r.graphs, g)
		}
	}
	if err := moved(r.graphs); err != nil && !r.pinned(r.graphs) {
		return err
	}
	r.recognise(ctx, t.files)
	scanned, err := r.scansStages()
	if err != nil {
		return err
	}
	if len(r.members) > 1 && !r.common().NoSplit && !scanned {
		r.division = crossbuild.Divide(r.graphs, r.buildPlatform)
	}
	return nil
}

// scansStages reports whether an attestation is made of other stages than the result, as with BUILDKIT_SBOM_SCAN_STAGE: these are wanted
// whole, on the node that makes it.
func (r *run) scansStages() (bool, error) {
	for i, t := range r.targets {
		own := map[digest.Digest]bool{}
		for _, s := range r.graphs[i].Steps {
			own[s.Digest] = s.Digest != r.graphs[i].Steps[len(r.graphs[i].Steps)-1].Digest
		}
		for _, a := range t.Attestations {
			g, err := crossbuild.Read(t.Platform, a.Definition)
			if err != nil {
				return false, fmt.Errorf("reading an attestation for %s: %w", t.Platform, err)
			}
			for _, s := range g.Steps {
				_, ofTarget := own[s.Digest]
				if !ofTarget && slices.ContainsFunc(s.Inputs, func(in digest.Digest) bool { return own[in] }) {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// divided is the division of the graphs, which has nothing apart if nothing may be.
func (r *run) divided() *crossbuild.Division {
	if r.division == nil {
		return &crossbuild.Division{Private: make([]*crossbuild.Graph, len(r.graphs))}
	}
	return r.division
}

// remarks are what is to be known of the nodes before anything is run.
func (r *run) remarks() []string {
	var lines []string
	for _, a := range r.absent {
		lines = append(lines, absence(a))
	}
	for _, m := range r.members {
		for _, l := range m.info.Limits {
			lines = append(lines, m.Name+" is limited: "+l.String())
		}
	}
	return lines
}

// parts are the tasks of assignments: one for each node and request, or, so that one failure does not end others, for each platform.
func (r *run) parts(list []Assignment) []task {
	r.mu.Lock()
	cut := r.cut
	r.mu.Unlock()
	var out []task
	type group struct{ node, target string }
	at := map[group]int{}
	for i := range list {
		a := &list[i]
		key := group{a.Node, a.Target}
		if i, ok := at[key]; ok && !r.common().KeepGoing {
			out[i].platforms = append(out[i].platforms, a.Platform)
			continue
		}
		at[key] = len(out)
		out = append(out, task{member: r.member(a.Node), of: r.commission(a.Target), platforms: []platforms.Platform{a.Platform}, cut: cut})
	}
	return out
}

// commission is that of a name.
func (r *run) commission(name string) *commission {
	return r.commissions[slices.IndexFunc(r.commissions, func(c *commission) bool { return c.name == name })]
}

func (r *run) member(name string) *member {
	for _, m := range r.members {
		if m.Name == name {
			return m
		}
	}
	return nil
}
