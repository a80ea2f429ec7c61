// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"

	"github.com/moby/buildkit/client"
)

// Watched is a solve that is watched.
type Watched struct {
	solve      Solve
	given, ctx context.Context //nolint:containedctx // what the solve would have
	stop       func()
}

// WatchSteps is watch.
func WatchSteps(ctx context.Context, limit StepLimit) *Watched {
	w := &Watched{solve: Solve{StepLimit: limit, evidence: &evidence{}}, given: ctx}
	w.ctx, w.stop = w.solve.watch(ctx)
	return w
}

// See is see.
func (w *Watched) See(s *client.SolveStatus) { w.solve.see(s) }

// Stop is what watch returned.
func (w *Watched) Stop() { w.stop() }

// Done is that of the context that the solve has.
func (w *Watched) Done() <-chan struct{} { return w.ctx.Done() }

// Ended reports whether that context has ended, but not the one that was given.
func (w *Watched) Ended() bool { return w.ctx.Err() != nil && w.given.Err() == nil }

// Failure is that of the solve, nil: it was none of a step's that was overdue.
func (w *Watched) Failure() *Failure {
	var out *Failure
	if w.solve.evidence.overdue() == nil || !errors.As((&Client{}).explain(w.given, w.ctx.Err(), &w.solve), &out) {
		return nil
	}
	return out
}

// WordLength is wordLength.
const WordLength = wordLength
