// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// makePlan plans, and if it is emulators that are missing, gets them out of the image that the user named and plans again. It returns
// what to say of that.
func (r *run) makePlan(ctx context.Context) (notes []string, err error) {
	if err = r.choose(ctx); err == nil {
		return nil, nil
	}
	var unbuildable *UnbuildableError
	if !errors.As(err, &unbuildable) || r.common().EmulationImage == "" || !r.common().Strategies.Allows(crossbuild.Emulated) {
		return nil, err
	}
	missing, here := unbuildable.emulators(), local(r.members)
	if len(missing) == 0 || here == nil {
		return nil, err
	}
	note, err := r.emulate(ctx, here, missing)
	if err != nil {
		return nil, err
	}
	r.cfg.Note(note)
	return []string{note}, r.choose(ctx)
}

// choose makes the plan.
func (r *run) choose(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	plan, err := r.memory.plan(ctx, func(claimed map[string]int) (*Plan, error) {
		s := r.situation()
		s.Claimed = claimed
		return NewPlan(s)
	})
	if err == nil {
		r.plan = plan
	}
	return err
}

// emulators returns the handlers of the platforms that the nodes lack, each once.
func (e *UnbuildableError) emulators() []emulation.Handler {
	var out []emulation.Handler
	for _, u := range e.Platforms {
		for _, p := range u.Lacks {
			h, ok := emulation.HandlerFor(p)
			if ok && !slices.ContainsFunc(out, func(o emulation.Handler) bool { return o.Name == h.Name }) {
				out = append(out, h)
			}
		}
	}
	return out
}

// emulate makes the local node one that has these emulators. A plan alone takes their being in the image for granted.
func (r *run) emulate(ctx context.Context, here *member, missing []emulation.Handler) (note string, err error) {
	if r.dry {
		here.Info = promised(here.Info, missing)
		return fmt.Sprintf("build takes the emulators for %s from %s", words(guests(missing)), r.common().EmulationImage), nil
	}
	state, err := r.cfg.Attach.State.Resolve()
	if err != nil {
		return "", err
	}
	done, err := state.Emulators().Install(ctx, emulation.InstallConfig{Image: r.common().EmulationImage, Handlers: missing})
	if err != nil {
		return "", err
	}
	info, running, err := solver.Refresh(ctx, state)
	if err != nil {
		return "", err
	}
	if !running {
		return "", &LostError{Node: nodes.Local, Log: solver.LogTail(state), err: errors.New("it stopped")}
	}
	here.Info = abilities(info)
	return done.String(), nil
}

func guests(list []emulation.Handler) []platforms.Platform {
	out := make([]platforms.Platform, len(list))
	for i, h := range list {
		out[i] = h.Platforms[0]
	}
	return out
}

// promised is what a node will be able to do once it has these emulators.
func promised(info nodes.Info, missing []emulation.Handler) nodes.Info {
	out := nodes.Info{Survey: slices.Clone(info.Survey)}
	for i, s := range out.Survey {
		h, ok := emulation.HandlerFor(s.Platform)
		if ok && s.How == emulation.None && slices.ContainsFunc(missing, func(m emulation.Handler) bool { return m.Name == h.Name }) {
			out.Survey[i] = emulation.Support{Platform: s.Platform, How: emulation.Emulated, Instance: s.Instance}
		}
	}
	return out
}
