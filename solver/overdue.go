// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// StepLimit tells how long a step may take, by its digest as Failure.Step has it. Zero: as long as it likes. It is asked when the step begins.
type StepLimit func(step digest.Digest) time.Duration

// Overdue reports whether a step was stopped because it took longer than its StepLimit, and how long that was.
func (f *Failure) Overdue() (limit time.Duration, ok bool) {
	var late *overdueError
	if !errors.As(f.err, &late) {
		return 0, false
	}
	return late.limit, true
}

// overdueError is a step that was stopped.
type overdueError struct {
	step  digest.Digest // as the solver has it
	limit time.Duration
}

func (e *overdueError) Error() string { return fmt.Sprintf("it was stopped after %v", e.limit) }

// Hint says what there is to be done about an emulator that hangs: a step is limited for no other reason.
func (e *overdueError) Hint() string {
	return "programs hang under QEMU that do not on a CPU: try another version (mab emulation install --image REF), a node of that platform, " +
		"or a stage FROM --platform=$BUILDPLATFORM; if the step takes that long, give it more time: --emulated-timeout"
}

// watchdog ends a solve one of whose steps takes longer than it may. What counts is the time since this machine heard of the step's
// beginning: clocks of nodes differ. A nil one ends nothing.
type watchdog struct {
	limit StepLimit
	seen  *evidence
	end   context.CancelCauseFunc

	mu      sync.Mutex
	running map[digest.Digest]*time.Timer
	closed  bool
}

// watch returns the context of a solve, which ends when a step is overdue. The caller calls stop when the solve has ended.
func (s *Solve) watch(ctx context.Context) (watched context.Context, stop func()) {
	if s.StepLimit == nil {
		return ctx, func() {}
	}
	watched, end := context.WithCancelCause(ctx)
	w := &watchdog{limit: s.StepLimit, seen: s.evidence, end: end, running: map[digest.Digest]*time.Timer{}}
	s.dog = w
	return watched, w.stop
}

// see takes note of steps that begin and end. One may do so several times, as when it is looked for in the cache first.
func (w *watchdog) see(status *client.SolveStatus) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range status.Vertexes {
		timer := w.running[v.Digest]
		switch {
		case v.Started == nil || w.closed:
		case v.Completed == nil && timer == nil:
			w.begin(v.Digest)
		case v.Completed != nil && timer != nil:
			timer.Stop()
			delete(w.running, v.Digest)
		}
	}
}

// begin gives a step its time. The caller holds the lock.
func (w *watchdog) begin(step digest.Digest) {
	limit := w.limit(w.seen.origin(step))
	if limit <= 0 {
		return
	}
	w.running[step] = time.AfterFunc(limit, func() {
		w.mu.Lock()
		_, running := w.running[step]
		w.mu.Unlock()
		if late := (&overdueError{step, limit}); running && w.seen.missed(late) {
			w.end(late)
		}
	})
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for step, timer := range w.running {
		timer.Stop()
		delete(w.running, step)
	}
	w.end(nil)
}

// missed keeps the first step that was overdue, and reports whether it is this one.
func (e *evidence) missed(late *overdueError) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.late != nil {
		return false
	}
	e.late = late
	return true
}

// overdue is the step that was stopped, nil: none was.
func (e *evidence) overdue() *overdueError {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.late
}

// origin is what a step of this solve is known by to others.
func (e *evidence) origin(step digest.Digest) digest.Digest {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.origins.of(step)
}
