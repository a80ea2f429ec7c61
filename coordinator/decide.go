// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"fmt"
	"slices"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// decide makes the plan out of what the frontend made of the Dockerfile. If all of it is the lead's, its solve goes on.
func (r *run) decide(ctx context.Context, t *task, targets []solver.Target, spawn func(task)) (bool, error) {
	r.clock.lap("frontend")
	err := r.read(targets)
	if err != nil {
		return false, err
	}
	notes, err := r.makePlan(ctx)
	if err != nil {
		// One that is away may be the one that can; a run that only plans has told already.
		for _, a := range r.absent {
			if !r.dry {
				r.cfg.Note(absence(a))
			}
		}
		return false, err
	}
	r.clock.lap("plan")
	r.cfg.Display.Note(slices.Concat(notes, r.remarks(), r.plan.Lines()))
	if r.dry {
		return false, nil
	}
	parts := r.parts(r.plan.Assignments)
	if len(parts) == 1 && parts[0].member == t.member {
		t.platforms = parts[0].platforms
		return true, nil
	}
	for _, part := range parts {
		spawn(part)
	}
	return false, nil
}

// read keeps the graphs of the build.
func (r *run) read(targets []solver.Target) error {
	r.graphs, r.views = nil, nil
	for _, t := range targets {
		if t.Err != nil {
			r.views = append(r.views, View{Build: t.Build, Err: t.Err})
			continue
		}
		g, err := crossbuild.Read(t.Platform, t.Definition)
		switch {
		case err != nil:
			return fmt.Errorf("reading the graph for %s: %w", t.Platform, err)
		case t.Build == platforms.Platform{}:
			r.graphs = append(r.graphs, g)
			continue
		}
		i := slices.IndexFunc(r.views, func(v View) bool { return v.Build == t.Build })
		if i < 0 {
			i = len(r.views)
			r.views = append(r.views, View{Build: t.Build})
		}
		r.views[i].Graphs = append(r.views[i].Graphs, g)
	}
	return nil
}

// others are the platforms of the members that are not a member's own.
func (r *run) others(m *member) []platforms.Platform {
	var out []platforms.Platform
	for _, o := range r.members {
		if own := o.Info.Own; own != m.Info.Own && own != (platforms.Platform{}) && !slices.Contains(out, own) {
			out = append(out, own)
		}
	}
	return out
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

// parts are the tasks of assignments: one for each node, or, so that one failure does not end others, for each platform.
func (r *run) parts(list []Assignment) []task {
	var out []task
	at := map[string]int{}
	for _, a := range list {
		if i, ok := at[a.Node]; ok && !r.request.KeepGoing {
			out[i].platforms = append(out[i].platforms, a.Platform)
			continue
		}
		at[a.Node] = len(out)
		out = append(out, task{member: r.member(a.Node), platforms: []platforms.Platform{a.Platform}})
	}
	return out
}

func (r *run) member(name string) *member {
	for _, m := range r.members {
		if m.Name == name {
			return m
		}
	}
	return nil
}
