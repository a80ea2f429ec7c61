// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/stats"
)

// idle counts connections and closes its channel once there was none for the given time.
type idle struct {
	mu    sync.Mutex
	open  int
	after time.Duration
	timer *time.Timer
	over  chan struct{}
}

var _ stats.Handler = (*idle)(nil)

// newIdle starts counting at once. A time of zero or less means never.
func newIdle(after time.Duration) *idle {
	i := &idle{after: after, over: make(chan struct{})}
	if after > 0 {
		i.timer = time.AfterFunc(after, i.expire)
	}
	return i
}

func (i *idle) expire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	// A connection may have come between the timer's firing and this lock.
	if i.open == 0 {
		close(i.over)
		i.after = 0
	}
}

// HandleConn counts connections.
func (i *idle) HandleConn(_ context.Context, s stats.ConnStats) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch s.(type) {
	case *stats.ConnBegin:
		i.open++
		if i.timer != nil {
			i.timer.Stop()
		}
	case *stats.ConnEnd:
		i.open--
		if i.open == 0 && i.after > 0 {
			i.timer.Reset(i.after)
		}
	}
}

// TagConn changes nothing.
func (i *idle) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC changes nothing.
func (i *idle) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC counts nothing.
func (i *idle) HandleRPC(context.Context, stats.RPCStats) {}
