// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// part is a probe with its judge: some lines of the examination, and how long they may take.
type part struct {
	// name is that of the line which tells that there was no answer.
	name  string
	limit time.Duration
	look  func(context.Context) []Check
}

// examine looks at all parts at once, and returns their lines in the order of the parts.
func examine(ctx context.Context, parts []part) []Check {
	out := make([][]Check, len(parts))
	var group errgroup.Group
	for i, p := range parts {
		group.Go(func() error {
			lines, ok := within(ctx, p.limit, p.look)
			if !ok {
				lines = []Check{{Name: p.name, Status: Limited, Found: noAnswer(p.limit)}}
			}
			out[i] = lines
			return nil
		})
	}
	_ = group.Wait() // Its functions return no errors.
	return slices.Concat(out...)
}

func noAnswer(limit time.Duration) string { return fmt.Sprintf("no answer within %s", limit) }

// grace is how much longer than its limit a look is waited for, so that what ends with its context can say so itself and clean up.
const grace = time.Second

// within returns what look finds; false if it did not come back in time.
func within[T any](ctx context.Context, limit time.Duration, look func(context.Context) T) (T, bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// Some calls of the kernel end with no context, as on a dead network file system, and some libraries know none. Their goroutine
	// is left behind, and the program ends without it.
	found := make(chan T, 1)
	go func() { found <- look(ctx) }()
	timer := time.NewTimer(limit + grace)
	defer timer.Stop()
	select {
	case out := <-found:
		return out, true
	case <-timer.C:
		var none T
		return none, false
	}
}

// known is a part that needs no look.
func known(checks ...Check) part {
	return part{limit: time.Second, look: func(context.Context) []Check { return checks }}
}
