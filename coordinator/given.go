// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"slices"
	"time"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// give has a task solve what the frontend made elsewhere, with the parts that other nodes make.
func (r *run) give(ctx context.Context, t *task, out *outcome, s *solver.Solve) {
	type use struct {
		part int
		of   *making
	}
	uses := map[platforms.Platform][]use{}
	for _, p := range t.platforms {
		graph := r.place(Goal{t.of.name, p})
		for _, part := range t.cut.Uses(graph) {
			if slices.Contains(t.itself, t.cut.Parts[part].Key) {
				continue
			}
			m := r.making(ctx, t.cut, part)
			uses[p] = append(uses[p], use{part, m})
			if !slices.Contains(out.used, m) {
				out.used = append(out.used, m)
			}
		}
		if len(uses[p]) > 0 {
			s.Early = append(s.Early, t.cut.Early(graph)...)
		}
	}
	out.imports = solver.NewImports()
	s.Imports = out.imports
	s.Given = func(ctx context.Context) (solver.Given, error) {
		began := time.Now()
		defer func() { out.waited = time.Since(began) }()
		var given solver.Given
		for _, p := range t.platforms {
			have := map[int]crossbuild.Import{}
			for _, u := range uses[p] {
				if err := u.of.wait(ctx); err != nil {
					return solver.Given{}, err
				}
				have[u.part] = u.of.imported(t.member.Name, out.imports)
				given.Materials = append(given.Materials, u.of.made.Materials...)
			}
			target, err := r.target(t.cut, r.place(Goal{t.of.name, p}), imported(have))
			if err != nil {
				return solver.Given{}, err
			}
			given.Targets = append(given.Targets, target)
		}
		return given, nil
	}
}

// target is what the frontend made for a graph, with what has been made of it elsewhere.
func (r *run) target(cut *crossbuild.Cut, at int, have crossbuild.Imports) (solver.Target, error) {
	out := r.targets[at]
	var err error
	if out.Definition, err = cut.Target(at, out.Definition, have); err != nil {
		return out, err
	}
	out.Attestations = slices.Clone(out.Attestations)
	for i := range out.Attestations {
		a := &out.Attestations[i]
		if a.Definition == nil {
			continue
		}
		if a.Definition, err = cut.Target(at, a.Definition, have); err != nil {
			return out, err
		}
	}
	return out, nil
}
