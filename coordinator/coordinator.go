// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

// Config says where and how builds run. The zero value builds with the local solver of the current user and shows nothing.
type Config struct {
	// Nodes are those that take part, in the order of preference among equals. Empty: the local one alone.
	Nodes []nodes.Entry
	// Reach says how others than the local one are reached.
	Reach nodes.Config
	// Attach finds or starts the local solver.
	Attach solver.AttachConfig
	// Display shows progress. Nil shows nothing.
	Display *solver.Display
	// Note takes what the user should know of, in a line each. Nil: nobody is told.
	Note func(text string)
	// Version is mab's, for provenance. Empty: none is told.
	Version string
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
	return c.PlanAll(ctx, []Named{{Request: r}})
}

func (c *Coordinator) plan(ctx context.Context, list []*commission) (*Plan, error) {
	for _, of := range list {
		of.delivery = &delivery{}
	}
	run, err := c.start(ctx, list)
	if err != nil {
		return nil, err
	}
	run.dry = true
	for _, a := range run.absent {
		c.cfg.Note(absence(a))
	}
	if len(run.members) > 1 {
		run.memory = c.remember(list)
	}
	err = run.build(ctx)
	run.memory.close()
	return run.plan, errors.Join(err, closeAll(run.members))
}

// Build builds every platform of the request, checks and merges the results, and makes the outputs: layouts, then the tags of the
// registry, then archives of files, which only get their names. Each output is complete or absent, but for the files of a local
// output. A build that fails has made none, unless it failed in making them: then those that were made before stay.
func (c *Coordinator) Build(ctx context.Context, r Request) (*Result, error) {
	out, err := c.BuildAll(ctx, []Named{{Request: r}})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// attempt is BuildAll on the nodes that answer, but for those to avoid. It fails with an earlyError if they went away before the plan was made.
func (c *Coordinator) attempt(ctx context.Context, list []*commission, avoid ...Exclusion) ([]*Result, error) {
	began := time.Now()
	closing, err := c.deliveries(ctx, list)
	if err != nil {
		return nil, errors.Join(err, closing())
	}
	run, err := c.start(ctx, list)
	if err != nil {
		return nil, errors.Join(err, closing())
	}
	run.clock, run.without = clock{last: began}, slices.Clone(avoid)
	if len(run.members) > 1 {
		run.memory = c.remember(list)
	}
	run.clock.lap("attach")
	var out []*Result
	if err = run.build(ctx); err == nil {
		out, err = run.deliver(ctx)
	}
	run.memory.close()
	var lost *LostError
	if errors.As(err, &lost) && run.plan == nil {
		err = &earlyError{err}
	}
	left := closeAll(run.members)
	if err := errors.Join(err, run.discard(), closing()); err != nil {
		return nil, errors.Join(err, left)
	}
	for _, result := range out {
		result.Took, result.Phases = time.Since(began), run.clock.phases
	}
	return out, nil
}

// deliveries makes those of requests. The caller calls closing whether or not they are all there.
func (c *Coordinator) deliveries(ctx context.Context, list []*commission) (closing func() error, err error) {
	var made []*delivery
	closing = func() error {
		var errs []error
		for _, d := range made {
			errs = append(errs, d.close())
		}
		return errors.Join(errs...)
	}
	for _, of := range list {
		if of.delivery, err = newDelivery(ctx, of.request, c.cfg.Stdout); err != nil {
			return closing, of.wrap(err)
		}
		made = append(made, of.delivery)
	}
	return closing, nil
}

type earlyError struct{ err error }

func (e *earlyError) Error() string { return e.err.Error() }
func (e *earlyError) Unwrap() error { return e.err }
