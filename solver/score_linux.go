// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/emulation"
)

const (
	scoreCalm    = 2 * time.Second       // how long no build must have run before a platform is scored
	scorePoll    = 20 * time.Millisecond // how long scoring goes on when a build begins
	scoreTimeout = 10 * time.Second      // what takes longer has no score
	scoreNice    = 19                    // gives way to everything else (nice(2))
)

// errBuild ends scoring, for now.
var errBuild = errors.New("a build began")

// scoreUntil scores what has no score until told to end, and waits for that. It returns false when ctx has ended.
func (w *watch) scoreUntil(ctx context.Context, end <-chan os.Signal) bool {
	scoring, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { w.score(scoring); return nil })
	defer func() { cancel(); _ = group.Wait() }()
	select {
	case <-ctx.Done():
		return false
	case <-end:
		return true
	}
}

// score finds out what is open of the last survey, one platform after the other. Each is published as soon as it is known.
func (w *watch) score(ctx context.Context) {
	open := w.emulators.scores.fill(w.found)
	if len(open) == 0 {
		return
	}
	// A thread cannot take back that it gives way; it ends with this goroutine, for it is not unlocked.
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, scoreNice) // Without it the programs are as short as they are.
	if w.solves.calm(ctx, scoreCalm) != nil {
		return
	}
	for _, s := range open {
		score, err := w.scoreCalmly(ctx, s)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.Join(w.emulators.scores.add(s, score), w.publish())
		}
		if err != nil {
			w.emulators.Log.Info("finding out how fast a platform runs", "platform", s.Platform, "why", err)
		}
	}
}

// scoreCalmly measures, again when it is calm if a build begins meanwhile.
func (w *watch) scoreCalmly(ctx context.Context, s emulation.Support) (float64, error) {
	for {
		timed, cancel := context.WithTimeout(ctx, scoreTimeout)
		undisturbed, stop := w.solves.untilNext(timed)
		score, err := w.measure(undisturbed, s.Platform, "")
		disturbed := errors.Is(context.Cause(undisturbed), errBuild)
		stop()
		cancel()
		if err == nil || !disturbed {
			return score, err
		}
		if err := w.solves.calm(ctx, scoreCalm); err != nil {
			return 0, err
		}
	}
}

// publish has the solver tell the scores that are known now. It is the same survey still.
func (w *watch) publish() error {
	w.emulators.scores.fill(w.found)
	able, err := w.judge(w.found)
	if err != nil {
		return err
	}
	able.labels[surveyedLabel] = w.able.Load().labels[surveyedLabel]
	w.able.Store(able)
	return nil
}

// calm waits until no build has been under way for a time.
func (s *solves) calm(ctx context.Context, long time.Duration) error {
	tick := time.NewTicker(long / 4)
	defer tick.Stop()
	for since := time.Now(); time.Since(since) < long; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if s.count.Load() > 0 {
			since = time.Now()
		}
	}
	return nil
}

// untilNext returns a context that ends with errBuild once a build is under way. The caller calls stop.
func (s *solves) untilNext(ctx context.Context) (undisturbed context.Context, stop func()) {
	undisturbed, cancel := context.WithCancelCause(ctx)
	var group errgroup.Group
	group.Go(func() error {
		tick := time.NewTicker(scorePoll)
		defer tick.Stop()
		for s.count.Load() == 0 {
			select {
			case <-undisturbed.Done():
				return nil
			case <-tick.C:
			}
		}
		cancel(errBuild)
		return nil
	})
	return undisturbed, func() { cancel(context.Canceled); _ = group.Wait() }
}
