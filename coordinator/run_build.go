// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mab-build/mab/platforms"
)

// solveAll tries one BUILDPLATFORM after the other: what no node can do for the one, all may be able to do for another.
func (r *run) solveAll(ctx context.Context) error {
	var first error
	for _, p := range r.buildPlatforms() {
		if first != nil {
			native := func(m *member) bool { return m.Info.Native(p) }
			if !slices.ContainsFunc(r.usable(), native) {
				continue
			}
			if err := r.restart(p); err != nil {
				return err
			}
		}
		r.buildPlatform = p
		err := r.solveFor(ctx)
		var unbuildable *UnbuildableError
		var stranded *StrandedError
		if err == nil || ctx.Err() != nil || !errors.As(err, &unbuildable) && !errors.As(err, &stranded) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	if unbuildable := (*UnbuildableError)(nil); errors.As(first, &unbuildable) && !r.dry {
		// One that is away may be the one that can; a run that only plans has told already.
		for _, a := range r.absent {
			r.cfg.Note(absence(a))
		}
	}
	return first
}

// usable are the members that were not given up, in the order in which they are to make the plan.
func (r *run) usable() []*member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(leads(r.members), func(m *member) bool { return r.excluded(m.Name) })
}

// buildPlatforms are the platforms that may be BUILDPLATFORM, the best first. Its zero value is that of the node which runs the frontend.
func (r *run) buildPlatforms() []platforms.Platform {
	switch {
	case r.common().Build != platforms.Platform{}:
		return []platforms.Platform{r.common().Build}
	case len(r.members) == 1:
		return []platforms.Platform{{}}
	}
	return BuildPlatforms(r.farm(), r.memory.known.Build())
}

// restart forgets what was done for another BUILDPLATFORM: platforms of one build do not have different ones.
func (r *run) restart(next platforms.Platform) error {
	if r.planned() {
		r.say(fmt.Sprintf("everything is built anew with %s as BUILDPLATFORM, because no node that is left can go on with %s", next, r.buildPlatform))
	}
	err := errors.Join(r.release(), r.discard())
	r.plan, r.cut, r.done, r.makings = nil, nil, nil, nil
	return err
}
