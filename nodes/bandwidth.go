// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"
)

const (
	// bandwidthBlock is what is sent first, in bytes, and what every other amount is a multiple of; bandwidthMost is the most.
	bandwidthBlock = 64 << 10
	bandwidthMost  = 32 << 20
	// bandwidthEnough is how long an amount must take to be measured well, bandwidthAim how long the next one is to take.
	bandwidthEnough = 200 * time.Millisecond
	bandwidthAim    = 500 * time.Millisecond
	// bandwidthTimeout is for each direction.
	bandwidthTimeout = 10 * time.Second
)

// Bandwidth measures how many bytes per second one channel carries to the node and back, each for about a second: it has the node's shell
// take and give data until there was enough to tell. What else uses the link counts against it. Both are 0 where no shell can be
// asked: endpoints other than ssh.
func (r *Reached) Bandwidth(ctx context.Context) (up, down float64, err error) {
	m, ok := r.way.(carrier)
	if !ok {
		return 0, 0, nil
	}
	up, down, err = bandwidth(ctx, m)
	return up, down, named(Entry{Name: r.name}, err)
}

func bandwidth(ctx context.Context, m carrier) (up, down float64, err error) {
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise) // It never fails.
	up, err = rate(ctx, func(ctx context.Context, size int64) error {
		return m.Run(ctx, "cat >/dev/null", io.LimitReader(&again{content: noise}, size), io.Discard, io.Discard)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measuring the bandwidth to it: %w", err)
	}
	down, err = rate(ctx, func(ctx context.Context, size int64) error {
		var got counter
		err := m.Run(ctx, fmt.Sprintf("dd if=/dev/zero bs=%d count=%d", bandwidthBlock, size/bandwidthBlock), bytes.NewReader(nil), &got, io.Discard)
		if err == nil && int64(got) < size {
			err = fmt.Errorf("%d bytes of %d came", got, size)
		}
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measuring the bandwidth from it: %w", err)
	}
	return up, down, nil
}

// rate is how many bytes per second move carries, net of what it takes for none. The amount grows until it takes long enough; a link that
// is too slow for the next one has the rate of the last.
func rate(ctx context.Context, move func(ctx context.Context, size int64) error) (float64, error) {
	timed, cancel := context.WithTimeout(ctx, bandwidthTimeout)
	defer cancel()
	start := time.Now()
	if err := move(timed, 0); err != nil {
		return 0, err
	}
	overhead, last := time.Since(start), 0.0
	for size, again := int64(bandwidthBlock), false; ; {
		start := time.Now()
		if err := move(timed, size); err != nil {
			if last > 0 && ctx.Err() == nil && timed.Err() != nil {
				return last, nil
			}
			return 0, err
		}
		all := time.Since(start)
		overhead = min(overhead, all)
		took := max(all-overhead, time.Microsecond)
		found := float64(size) / took.Seconds()
		if again {
			found = max(found, last)
		}
		last = found
		switch {
		case took < bandwidthEnough && size < bandwidthMost:
			size, again = nextSize(size, took), false
		case size == bandwidthBlock && !again:
			// A busy machine may take that long to start a program; it hardly does so twice.
			again = true
		default:
			return last, nil
		}
	}
}

// nextSize is the amount that should take bandwidthAim, but at least twice as much as before, for it was too little, and at most 16 times, for what is over so
// soon tells little.
func nextSize(size int64, took time.Duration) int64 {
	next := int64(float64(size) * bandwidthAim.Seconds() / took.Seconds())
	next = min(max(next, 2*size), 16*size, bandwidthMost)
	return next / bandwidthBlock * bandwidthBlock
}

// again reads the same over and over.
type again struct {
	content []byte
	at      int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.content[a.at:])
	a.at = (a.at + n) % len(a.content)
	return n, nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
