// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// Config says where and how builds run. The zero value builds with the local solver of the current user and shows nothing.
type Config struct {
	// Attach finds or starts the local solver.
	Attach solver.AttachConfig
	// Display shows progress. Nil shows nothing.
	Display *solver.Display
	// Note takes what the user should know of, in a line each. Nil: nobody is told.
	Note func(text string)
	// Stdout takes outputs whose destination is -. Nil discards them.
	Stdout io.Writer
}

// Coordinator runs builds. It is safe for several at once.
type Coordinator struct{ cfg Config }

// New returns a coordinator. It connects to nothing yet.
func New(cfg Config) *Coordinator {
	if cfg.Stdout == nil {
		cfg.Stdout = io.Discard
	}
	if cfg.Note == nil {
		cfg.Note = func(string) {}
	}
	return &Coordinator{cfg: cfg}
}

// Plan says what Build would do, and does nothing of it: the frontend reads the Dockerfile and looks base images up.
func (c *Coordinator) Plan(ctx context.Context, r Request) (*Plan, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	in, err := r.Receive(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := c.plan(ctx, &r, in)
	return plan, errors.Join(err, in.Close())
}

func (c *Coordinator) plan(ctx context.Context, r *Request, in *solver.Input) (*Plan, error) {
	run, err := c.start(ctx, r)
	if err != nil {
		return nil, err
	}
	run.dry = true
	_, err = run.client.Build(ctx, solver.Solve{
		Request: &r.Request, Input: in, Decide: run.decide, DryRun: true, Display: c.cfg.Display,
		Registries: c.cfg.Attach.Config.Registries,
	})
	return run.plan, errors.Join(run.explain(ctx, err), run.client.Close())
}

// Build builds every platform of the request, checks and merges the results, and makes the outputs: layouts, then the tags of the
// registry, then archives of files, which only get their names. Each output is complete or absent, but for the files of a local
// output. A build that fails has made none, unless it failed in making them: then those that were made before stay.
func (c *Coordinator) Build(ctx context.Context, r Request) (*Result, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	in, err := r.Receive(ctx)
	if err != nil {
		return nil, err
	}
	out, err := c.attempt(ctx, r, in)
	// A solver that was just stopping when the build came has done nothing of it.
	var early *earlyError
	if errors.As(err, &early) {
		out, err = c.attempt(ctx, r, in)
	}
	if errors.As(err, &early) {
		err = early.err
	}
	if err := errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	return out, nil
}

// attempt is Build on one solver. It fails with an earlyError if that went away before the plan was made.
func (c *Coordinator) attempt(ctx context.Context, r Request, in *solver.Input) (*Result, error) {
	began := time.Now()
	d, err := newDelivery(ctx, &r, c.cfg.Stdout)
	if err != nil {
		return nil, err
	}
	run, err := c.start(ctx, &r)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	run.input, run.clock = in, clock{last: began}
	run.clock.lap("attach")
	out, err := run.build(ctx, d)
	var lost *LostError
	if errors.As(err, &lost) && run.plan == nil {
		err = &earlyError{err}
	}
	closing := run.client.Close()
	if err := errors.Join(err, d.close()); err != nil {
		return nil, errors.Join(err, closing)
	}
	out.Took, out.Phases = time.Since(began), run.clock.phases
	return out, nil
}

type earlyError struct{ err error }

func (e *earlyError) Error() string { return e.err.Error() }
func (e *earlyError) Unwrap() error { return e.err }

// run is one build under way.
type run struct {
	cfg     Config
	request *Request
	input   *solver.Input
	client  *solver.Client
	farm    []nodes.Node
	info    solver.Info
	plan    *Plan
	clock   clock
	// dry is a run that only plans.
	dry bool
}

// start connects to the solver. The caller closes the run's client.
func (c *Coordinator) start(ctx context.Context, r *Request) (*run, error) {
	client, info, err := solver.Attach(ctx, c.cfg.Attach)
	if err != nil {
		return nil, err
	}
	out := &run{
		cfg: c.cfg, request: r, client: client, info: info,
		farm: []nodes.Node{{Entry: nodes.Entry{Name: nodes.Local, URL: nodes.Local}, Info: nodes.Info{Survey: info.Survey}}},
	}
	if len(r.Platforms) == 0 && len(info.Platforms) > 0 {
		r.Platforms = []platforms.Platform{info.Platforms[0]}
	}
	return out, nil
}

// decide makes the plan out of what the frontend made of the Dockerfile.
func (r *run) decide(ctx context.Context, targets []solver.Target) (solver.Verdict, error) {
	r.clock.lap("frontend")
	graphs := make([]*crossbuild.Graph, len(targets))
	for i, t := range targets {
		g, err := crossbuild.Read(t.Platform, t.Definition)
		if err != nil {
			return solver.Verdict{}, fmt.Errorf("reading the graph for %s: %w", t.Platform, err)
		}
		graphs[i] = g
	}
	note, err := r.makePlan(ctx, graphs)
	if err != nil {
		return solver.Verdict{}, err
	}
	r.clock.lap("plan")
	lines := note
	for _, l := range r.info.Limits {
		lines = append(lines, nodes.Local+" is limited: "+l.String())
	}
	return solver.Verdict{Lines: append(lines, r.plan.Lines()...)}, nil
}

func (r *run) build(ctx context.Context, d *delivery) (*Result, error) {
	solved, err := r.client.Build(ctx, solver.Solve{
		Request: &r.request.Request, Input: r.input, Exports: d.exports, Decide: r.decide, Display: r.cfg.Display,
		Registries: r.cfg.Attach.Config.Registries,
	})
	if err != nil {
		return nil, d.explain(r.explain(ctx, err), r.plan != nil)
	}
	r.clock.lap("solve")
	out := &Result{Plan: r.plan, Ref: solved.Ref, Descriptor: solved.Index}
	if d.delivers() {
		if err := r.deliver(ctx, d, solved, out); err != nil {
			return nil, err
		}
	}
	return out, d.commit()
}

// explain adds what only the coordinator can find out: why a solver is gone, and which platforms a base image has.
func (r *run) explain(ctx context.Context, err error) error {
	var failure *solver.Failure
	switch {
	case err == nil || !errors.As(err, &failure):
		return err
	case failure.Lost():
		lost := &LostError{Node: nodes.Local, err: err}
		if r.info.OnDemand {
			lost.Log = solver.LogTail(r.cfg.Attach.State)
		}
		return lost
	case failure.Base != "":
		return r.base(ctx, failure)
	}
	return r.plan.locate(failure)
}

// LostError is a node that went away in the middle of a build.
type LostError struct {
	Node string
	// Log is the end of its log.
	Log string
	err error
}

// Error names the node and shows the end of its log.
func (e *LostError) Error() string {
	text := fmt.Sprintf("building on %s: the solver went away", e.Node)
	if e.Log != "" {
		text += "; the end of its log:\n" + e.Log
	}
	return text
}

// Hint says that nothing is lost.
func (e *LostError) Hint() string {
	return "run the same command again: a new solver starts, and steps that were done are not run again"
}

// Lost reports true: the build may succeed elsewhere.
func (e *LostError) Lost() bool { return true }

// Unwrap gives the cause.
func (e *LostError) Unwrap() error { return e.err }
