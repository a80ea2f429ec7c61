// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mab-build/mab/platforms"
)

const (
	// scoreRuns are how often a program is run at most, and scoreTime is how much CPU time of it is enough. The best of two is the least. Several
	// short runs tell more than a long one: what disturbs them is not always there.
	scoreRuns = 6
	scoreTime = 100 * time.Millisecond
)

// Score tells how fast programs of platform p run here, natively or by the handler that the kernel has for them: in millions of rounds
// per second of CPU time, of one thread, without what it takes to start a program. It runs the program of Work some times, one at a
// time, for some 15 ms natively and 150 ms under QEMU in all; what else the machine does changes the outcome by a third, for it takes
// away caches and clock. They have the priority of the calling thread. Errors and dir are as for Probe's; where there
// is no such program, errors.ErrUnsupported.
func Score(ctx context.Context, p platforms.Platform, dir string) (float64, error) {
	start, known := Program(p)
	work, scored := Work(p)
	if !known || !scored {
		return 0, fmt.Errorf("scoring %s: %w", p, errors.ErrUnsupported)
	}
	// A CPU that lacks the instructions of a variant says so here.
	started, err := best(ctx, start, dir)
	if err != nil {
		return 0, fmt.Errorf("scoring %s: %w", p, err)
	}
	worked, err := best(ctx, work, dir)
	if err != nil {
		return 0, fmt.Errorf("scoring %s: %w", p, err)
	}
	return score(started, worked), nil
}

// best is the least CPU time that a program takes.
func best(ctx context.Context, program []byte, dir string) (time.Duration, error) {
	return leastOf(func() (time.Duration, error) { return execute(ctx, program, dir) })
}

// leastOf is the least of some runs.
func leastOf(run func() (time.Duration, error)) (time.Duration, error) {
	var least, sum time.Duration
	for i := range scoreRuns {
		took, err := run()
		if err != nil {
			return 0, err
		}
		if i == 0 || took < least {
			least = took
		}
		if sum += took; i > 0 && sum > scoreTime {
			break
		}
	}
	return least, nil
}

// score is 0 if the clock is too coarse to tell.
func score(started, worked time.Duration) float64 {
	if worked <= started {
		return 0
	}
	return workRounds / 1e6 / (worked - started).Seconds()
}
