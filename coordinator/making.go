// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/solver"
)

// making is a part of the cut that one node makes and then holds for the others.
type making struct {
	part   crossbuild.Part
	member *member
	// goals are those that it is for, in the order of the requests.
	goals []Goal
	// anew is a part whose steps run though the cache has them, where what is made of it may come from the cache: its own node would find
	// there what it made of an earlier one, which others do not have. So it takes the part as they do.
	anew bool
	// done is closed when made, or err, and took are there.
	done chan struct{}
	made *solver.Made
	err  error
	took time.Duration
	// lost has its loss be dealt with once.
	lost sync.Once
	// givenUp is a part that is made anew elsewhere, so that what holds it is to be done again, and needs are those that it holds itself.
	// The run's lock guards both.
	givenUp bool
	needs   []*making
}

// stale reports whether the part, or one that it is made of, is made anew elsewhere. The caller holds the run's lock.
func (m *making) stale() bool { return m.givenUp || slices.ContainsFunc(m.needs, (*making).stale) }

// wait waits for the part. It fails with a PartError also if the node has gone away since.
func (m *making) wait(ctx context.Context) error {
	select {
	case <-m.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.err != nil {
		return &PartError{making: m, err: m.err}
	}
	select {
	case <-m.made.Done():
		return m.ended()
	default:
		return nil
	}
}

// gone waits for the node of a part that was made to go away, and returns nil if it does not.
func (m *making) gone(ctx context.Context) *PartError {
	select {
	case <-m.made.Done():
		return m.ended()
	case <-ctx.Done():
		return nil
	}
}

func (m *making) ended() *PartError {
	return &PartError{making: m, err: &LostError{Node: m.member.Name, err: m.made.Err()}}
}

// cacheName is what the cache of a part is called by, among those of its request.
func (r *run) cacheName(cut *crossbuild.Cut, at int) string {
	n := 0
	for i := range at {
		if r.onlyFor(&cut.Parts[i]) == r.onlyFor(&cut.Parts[at]) && r.commissionOf(cut.Origin(i)) == r.commissionOf(cut.Origin(at)) {
			n++
		}
	}
	return solver.PartName(r.onlyFor(&cut.Parts[at]).Platform, n)
}

// onlyFor is the goal that a part is for, if it is for one alone; zero if it is of what several share.
func (r *run) onlyFor(p *crossbuild.Part) Goal {
	shared := r.divided().Shared
	if shared != nil && slices.ContainsFunc(shared.Steps, func(s crossbuild.Step) bool { return s.Identity == p.Step.Identity }) {
		return Goal{}
	}
	return r.goals[p.Graphs[0]]
}

// String says in words what is made.
func (m *making) String() string {
	return fmt.Sprintf("what %s share of %q", words(m.goals), m.part.Step.Name)
}

// PartError is a part of a build that a node was to make for others, and did not, or that did not get from there to where it is needed.
type PartError struct {
	making *making
	// transfer is a part that was made and did not get there.
	transfer bool
	err      error
}

// Error is that of the node.
func (e *PartError) Error() string {
	if e.transfer {
		return fmt.Sprintf("fetching %s from %s: %v", e.making, e.making.member.Name, e.err)
	}
	return e.err.Error()
}

// Unwrap gives the cause.
func (e *PartError) Unwrap() error { return e.err }

// root is the failure that this one comes from: a part also fails for want of another one that its node needs.
func (e *PartError) root() *PartError {
	var inner *PartError
	if errors.As(e.err, &inner) {
		return inner.root()
	}
	return e
}

// making returns the making of a part of a cut, which it begins if nobody needed it before.
func (r *run) making(ctx context.Context, cut *crossbuild.Cut, at int) *making {
	r.mu.Lock()
	defer r.mu.Unlock()
	part := cut.Parts[at]
	gone := r.excluded(part.Node) // Then it is not made there once more.
	if i := slices.IndexFunc(r.makings, func(m *making) bool {
		return m.part.Key == part.Key && m.part.Node == part.Node && (gone || !m.stale())
	}); i >= 0 {
		return r.makings[i]
	}
	m := &making{part: part, member: r.member(part.Node), done: make(chan struct{})}
	filtered := slices.ContainsFunc(r.commissions, func(c *commission) bool { return len(c.request.NoCacheFilter) > 0 })
	m.anew = filtered && slices.ContainsFunc(part.Steps, func(s *crossbuild.Step) bool { return s.NoCache })
	for _, g := range part.Graphs {
		m.goals = append(m.goals, r.goals[g])
	}
	r.makings = append(r.makings, m)
	r.goOn(func() error {
		defer close(m.done)
		began := time.Now()
		m.err = r.explain(ctx, r.commissionOf(cut.Origin(at)), m.member, r.make(ctx, cut, at, m))
		m.took = time.Since(began)
		return nil // It is the failure of those that need the part.
	})
	return m
}

// make has a part made.
func (r *run) make(ctx context.Context, cut *crossbuild.Cut, at int, m *making) error {
	needs := make([]*making, len(m.part.Needs))
	for i, n := range m.part.Needs {
		needs[i] = r.making(ctx, cut, n)
	}
	r.mu.Lock()
	m.needs = needs
	r.mu.Unlock()
	imports := solver.NewImports()
	definition := func(ctx context.Context) (*crossbuild.Definition, error) {
		have := map[int]crossbuild.Import{}
		for i, n := range m.part.Needs {
			if err := needs[i].wait(ctx); err != nil {
				return nil, err
			}
			have[n] = needs[i].imported(m.part.Node, imports)
		}
		return cut.Part(at, imported(have))
	}
	// The part is made of one request's steps, whose session has all that they name.
	of := r.commissionOf(cut.Origin(at))
	var err error
	m.made, err = m.member.client.Make(ctx, solver.Make{
		Request: &of.request.Request, Input: of.input, Renaming: of.renaming, Companions: of.companions(),
		Registries: r.cfg.Attach.Config.Registries, Display: r.display(nil, m.member),
		Name: r.cacheName(cut, at), Definition: definition, Graph: r.targets[cut.Origin(at)].Definition, Imports: imports, Materials: true, Copied: len(m.part.Paths) > 0,
		StepLimit: r.limit(m.member.Name),
	})
	return transferred(err, imports, needs)
}

// imported is how the part is named on a node. What is copied of it is named by its content on its own node as well: the node may still
// have what it copied of an earlier run of the step, which the others do not have. Its layers are what others build on, and the node would
// not find again what it built on them under another name.
func (m *making) imported(node string, to *solver.Imports) crossbuild.Import {
	if m.part.Node == node && !m.anew && len(m.part.Paths) == 0 {
		return crossbuild.Import{}
	}
	to.Add(m.made)
	return crossbuild.Import{Ref: m.made.Ref(), Store: solver.ImportStore}
}

func imported(have map[int]crossbuild.Import) crossbuild.Imports {
	return func(part int) (crossbuild.Import, bool) {
		i, ok := have[part]
		return i, ok
	}
}

// transferred is a failure whose cause is that something could not be fetched: then that is what failed. Nil imports: nothing was.
func transferred(err error, imports *solver.Imports, from []*making) error {
	if err == nil || imports == nil || imports.Err() == nil {
		return err
	}
	at := slices.IndexFunc(from, func(m *making) bool { return m.made != nil && m.made.Err() != nil })
	if at < 0 {
		at = slices.IndexFunc(from, func(m *making) bool { return m.made != nil })
	}
	if at < 0 {
		return err
	}
	return &PartError{making: from[at], transfer: true, err: imports.Err()}
}

// release lets go of all parts. Nothing is made any more.
func (r *run) release() error {
	var errs []error
	for _, m := range r.makings {
		if m.made != nil {
			errs = append(errs, m.made.Close())
		}
	}
	return errors.Join(errs...)
}

// madeParts are those that were made and used, for the history.
func (r *run) madeParts() []made {
	var out []made
	for _, m := range r.makings {
		if m.made != nil && !m.stale() {
			out = append(out, made{&m.part, m.member.Node, m.took, m.made.Steps, m.made.Cached, m.made.Size})
		}
	}
	return out
}
