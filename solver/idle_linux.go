// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/stats"
)

// idle counts connections. It tells when the first comes and when the last has been gone for a moment, and closes its channel
// once there was none for the given time.
type idle struct {
	mu    sync.Mutex
	open  int
	over  chan struct{}
	after *time.Timer // nil: never
	calm  *time.Timer
	busy  func()
	times idleTimes
}

// idleTimes are how long nobody must be connected for the solver to stop (zero or less: never), and to be calm.
type idleTimes struct{ stop, calm time.Duration }

var _ stats.Handler = (*idle)(nil)

// newIdle starts counting at once. busy is called before the first connection is served, calm some time after the last ended;
// a connection that comes meanwhile waits for calm to return.
func newIdle(times idleTimes, busy, calm func()) *idle {
	i := &idle{over: make(chan struct{}), busy: busy, times: times}
	i.calm = time.AfterFunc(times.calm, i.whenIdle(calm))
	i.calm.Stop()
	if times.stop > 0 {
		i.after = time.AfterFunc(times.stop, i.whenIdle(sync.OnceFunc(func() { close(i.over) })))
	}
	return i
}

// whenIdle guards what a timer does: a connection may have come between its firing and the lock.
func (i *idle) whenIdle(do func()) func() {
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.open == 0 {
			do()
		}
	}
}

// HandleConn counts connections.
func (i *idle) HandleConn(_ context.Context, s stats.ConnStats) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch s.(type) {
	case *stats.ConnBegin:
		i.open++
		i.calm.Stop()
		if i.after != nil {
			i.after.Stop()
		}
		if i.open == 1 {
			i.busy()
		}
	case *stats.ConnEnd:
		i.open--
		if i.open > 0 {
			return
		}
		i.calm.Reset(i.times.calm)
		if i.after != nil {
			i.after.Reset(i.times.stop)
		}
	}
}

// TagConn changes nothing.
func (i *idle) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC changes nothing.
func (i *idle) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC counts nothing.
func (i *idle) HandleRPC(context.Context, stats.RPCStats) {}
