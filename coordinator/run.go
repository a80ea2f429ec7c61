// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// run is one build under way.
type run struct {
	cfg         Config
	commissions []*commission
	members     []*member
	absent      []Found
	clock       clock
	memory      memory
	// dry is a run that only plans.
	dry bool
	// targets are what the frontends made of the requests for a BUILDPLATFORM, one after the other, goals are what they are for, graphs are how
	// mab reads them, and division is what of them can be done apart, nil: nothing. They do not change while there is a plan.
	buildPlatform platforms.Platform
	targets       []solver.Target
	goals         []Goal
	graphs        []*crossbuild.Graph
	division      *crossbuild.Division
	// looked are the graphs of a look at base images that differed between platforms.
	looked []*crossbuild.Graph
	// goOn runs something beside the rest of the build.
	goOn func(func() error)

	// mu guards what follows.
	mu   sync.Mutex
	plan *Plan
	// cut is how the graphs are done by the plan. Nil: by one solve.
	cut     *crossbuild.Cut
	makings []*making
	without []Exclusion
	// unassisted are the toolchains that steps are not assisted by any more.
	unassisted []string
	done       []*outcome
	// assisted are the steps that were, once all is done.
	assisted []AssistedStep
	// spoiled are shares of outcomes that are done anew.
	spoiled []*share
	faults  []fault
}

// task is a part of the plan that one node solves at once.
type task struct {
	member *member
	of     *commission
	// platforms are in the order of the request. Nil for a task that has the frontend run, until the plan is made.
	platforms []platforms.Platform
	// lead is a task that has the frontend run, and makes the plan if it is the last.
	lead bool
	// through is a task whose image is sent here, because the node does not reach the registry.
	through bool
	// files reads those of images while the task makes the plan. Nil: it does not.
	files *solver.Files
	// cut is what the task solves a part of. Nil: it runs the frontend itself.
	cut *crossbuild.Cut
	// itself are the parts of the cut that it does not get from others.
	itself []digest.Digest
}

func (t *task) goals() []Goal { return t.of.goals(t.platforms) }

func (t *task) has(g Goal) bool {
	return t.of.name == g.Target && slices.Contains(t.platforms, g.Platform)
}

// outcome is what a task left behind.
type outcome struct {
	task   task
	share  *share // nil: it wrote where the whole build goes
	solved *solver.Result
	images []manifestlist.Image
	// checked is what was found in the images, in their order.
	checked []contents.ImageReport
	// used are the parts that others made for it, and imports what it fetched of them.
	used    []*making
	imports *solver.Imports
	// took is how long it took but for waited, the time in which it waited for parts of others.
	took, waited time.Duration
}

// fault is a task that failed for good.
type fault struct {
	goals []Goal
	err   error
}

// start reaches the nodes. The caller closes the members.
func (c *Coordinator) start(ctx context.Context, list []*commission) (*run, error) {
	members, absent, err := c.gather(ctx)
	if err != nil {
		return nil, err
	}
	first := leads(members)[0].info
	for _, of := range list {
		if len(of.request.Platforms) == 0 && len(first.Platforms) > 0 {
			of.request.Platforms = []platforms.Platform{first.Platforms[0]}
		}
	}
	return &run{cfg: c.cfg, commissions: list, members: members, absent: absent}, nil
}

// alone reports whether one solve does the whole build, and writes where it goes.
func (r *run) alone() bool {
	return len(r.members) == 1 && !r.several() && !r.common().KeepGoing && !r.common().CheckAssist && !r.commissions[0].delivery.flat()
}

// splits reports whether each platform of a request writes a cache of its own: where several nodes may build the platforms, one would
// overwrite what another wrote, whoever builds which this time.
func (r *run) splits(c *commission) bool {
	return len(c.request.Platforms) > 1 && (len(r.members)+len(r.absent) > 1 || r.common().KeepGoing)
}

func (r *run) farm() []nodes.Node {
	out := make([]nodes.Node, len(r.members))
	for i, m := range r.members {
		out[i] = m.Node
	}
	return out
}

// build makes the plan and has every part of it solved, elsewhere if need be.
func (r *run) build(ctx context.Context) error {
	stop := r.cfg.Display.Open()
	err := r.solveAll(ctx)
	if err == nil {
		err = r.checkAssist(ctx)
	}
	if err = errors.Join(err, r.release()); err == nil {
		r.timeSteps()
	}
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	r.clock.lap("solve")
	return r.fault()
}

func (r *run) solveFor(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	r.goOn = group.Go
	spawn := func(t task) { group.Go(func() error { return r.perform(ctx, t) }) }
	group.Go(func() error { return r.lead(ctx, spawn) })
	return group.Wait()
}

// lead has the frontend run and the plan made on the first node that does not go away meanwhile.
func (r *run) lead(ctx context.Context, spawn func(task)) error {
	var errs []error
	for _, m := range r.usable() {
		err := r.ask(ctx, m, spawn)
		tag := (*movedError)(nil)
		for i := 0; i < looks && errors.As(err, &tag); i++ {
			err = r.ask(ctx, m, spawn)
		}
		if r.planned() || err == nil || ctx.Err() != nil {
			return err
		}
		out := r.exclusions(ctx, m, r.all(), err)
		if len(out) == 0 {
			return err
		}
		r.exclude(out...)
		r.say(fmt.Sprintf("%s does not make the plan, because %s", m.Name, out[0].Why))
		if m.reached != nil && !isLost(err) {
			err = &StrandedError{Goals: r.all(), err: fmt.Errorf("making the plan on %s: %w", m.Name, err)}
		}
		errs = append(errs, err)
	}
	// What the first of them said holds for this machine, if that takes part.
	return errs[0]
}

// ask has the frontends of all requests run on one node, each when those are read that it is made of. The last makes the plan.
func (r *run) ask(ctx context.Context, m *member, spawn func(task)) error {
	for _, c := range r.commissions {
		c.targets, c.ready = nil, make(chan struct{})
	}
	if !r.several() {
		return r.attempt(ctx, &task{member: m, of: r.commissions[0], lead: true}, spawn)
	}
	group, asking := errgroup.WithContext(ctx)
	for _, c := range r.commissions {
		group.Go(func() error {
			for _, linked := range c.links {
				select {
				case <-linked.ready:
				case <-asking.Done():
					return asking.Err()
				}
			}
			return c.wrap(r.attempt(asking, &task{member: m, of: c, lead: true}, spawn))
		})
	}
	return group.Wait()
}

func (r *run) planned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plan != nil
}

func (r *run) exclude(list ...Exclusion) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.without = append(r.without, list...)
}

// perform runs a task of the plan.
func (r *run) perform(ctx context.Context, t task) error { return r.attempt(ctx, &t, nil) }

// attempt runs a task, and if it fails has others take it over.
func (r *run) attempt(ctx context.Context, t *task, spawn func(task)) error {
	began := time.Now()
	out := &outcome{}
	err := r.solve(ctx, t, out, spawn)
	out.task, out.took = *t, time.Since(began)-out.waited
	if err == nil {
		return r.finish(ctx, out)
	}
	if out.share != nil {
		err = errors.Join(err, out.share.discard())
	}
	if ctx.Err() != nil || !r.planned() {
		return r.explain(ctx, t.of, t.member, err)
	}
	if len(t.platforms) == 0 {
		// The plan is made, and what the node was given of it is another task.
		return nil
	}
	return r.recover(ctx, *t, r.explain(ctx, t.of, t.member, transferred(err, out.imports, out.used)))
}

// finish keeps what a task left behind, if it is made of what the others are made of.
func (r *run) finish(ctx context.Context, out *outcome) error {
	r.mu.Lock()
	if out.stale() {
		r.mu.Unlock()
		return r.again(ctx, out)
	}
	defer r.mu.Unlock()
	r.done = append(r.done, out)
	if len(out.task.platforms) > 0 {
		r.memory.tell(r.underway(), r.plan.Portions...)
	}
	return nil
}

// solve solves a task and reads the images that it made, so that nothing is wanted of its node any more.
func (r *run) solve(ctx context.Context, t *task, out *outcome, spawn func(task)) (err error) {
	request := t.of.request.Request
	if !t.lead {
		request.Platforms = t.platforms
	}
	exports := t.of.delivery.exports
	if !r.alone() || t.through {
		if out.share, err = t.of.delivery.share(t.through); err != nil {
			return err
		}
		exports = out.share.exports
	}
	s := solver.Solve{
		Request: &request, Input: t.of.input, Exports: exports, Display: r.display(t.of, t.member),
		Registries: r.cfg.Attach.Config.Registries, StepLimit: r.limit(t.member.Name), Account: r.accounts(t.of), Verify: t.of.verification(),
		Whole: t.of.request.Platforms, SplitCaches: r.splits(t.of),
		Renaming: t.of.renaming, Companions: t.of.companions(),
	}
	if t.cut != nil {
		r.give(ctx, t, out, &s)
	}
	s.BuildPlatform = r.frontendPlatform(t)
	if t.lead {
		s.Contexts = t.of.contexts()
		t.files = &solver.Files{}
		s.Files = t.files
		s.Decide = func(ctx context.Context, targets []solver.Target) (bool, error) {
			return r.decide(ctx, t, targets, spawn)
		}
	}
	if out.solved, err = t.member.client.Build(ctx, s); err != nil || len(t.platforms) == 0 {
		return err
	}
	return r.collect(ctx, t, out)
}

// frontendPlatform is the BUILDPLATFORM that a task has to tell its frontend: what is tried again is for the one of the first try. Zero: it
// has none, or that is its node's own.
func (r *run) frontendPlatform(t *task) platforms.Platform {
	if t.cut != nil || r.buildPlatform == t.member.Info.Own {
		return platforms.Platform{}
	}
	return r.buildPlatform
}

// collect reads the images of a task, and checks them.
func (r *run) collect(ctx context.Context, t *task, out *outcome) error {
	if !t.of.delivery.delivers() {
		return nil
	}
	from, done, err := r.origin(t, out)
	if err != nil {
		return err
	}
	defer done()
	images, err := manifestlist.ReadImages(ctx, from, out.solved.Index)
	if err != nil {
		return err
	}
	seen := &witness{Blobs: from}
	out.images, err = manifestlist.Check(ctx, seen, t.platforms, images)
	if err != nil && !seen.failed.Load() {
		return &RefusedError{err}
	}
	if err != nil {
		return err
	}
	return r.verify(ctx, t, out, from)
}

// origin is where the image of a task is read from: what was sent here, or the node, or the registry that it was pushed to.
func (r *run) origin(t *task, out *outcome) (manifestlist.Blobs, func(), error) {
	d := t.of.delivery
	switch {
	case out.share != nil && out.share.blobs != "":
		return manifestlist.BlobDir(out.share.blobs), func() {}, nil
	case len(d.layouts) > 0 && out.share == nil:
		return manifestlist.BlobDir(d.staging), func() {}, nil
	case len(d.refs) == 0:
		return t.member.client, func() {}, nil
	}
	registry, err := r.registry(t.of)
	if err != nil {
		return nil, nil, err
	}
	return several{t.member.client, registry.Repository(d.refs[0])}, registry.Close, nil
}

// discard gives up what is left of the shares.
func (r *run) discard() error {
	var errs []error
	for _, o := range r.done {
		if o.share != nil {
			errs = append(errs, o.share.discard())
		}
	}
	for _, s := range r.spoiled {
		errs = append(errs, s.discard())
	}
	r.spoiled = nil
	return errors.Join(errs...)
}
