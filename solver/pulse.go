// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

const (
	// pulseEvery is how often a solver on another machine is asked during a build whether it is still there, and pulseWait how long it has
	// for the answer: a machine with too much to do is slow, one that hangs says nothing.
	pulseEvery = 5 * time.Second
	pulseWait  = 15 * time.Second
)

// pulse asks until ctx ends, and ends the connection to a solver that gives no answer: the link to its machine may well hold. The asking
// is nothing that BuildKit would have to compute.
func (c *Client) pulse(ctx context.Context) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(ctx, pulseWait)
		_, err := c.bk.ListWorkers(asking)
		late := err != nil && asking.Err() != nil && ctx.Err() == nil
		cancel()
		if late {
			c.link.ended.Store(true)
			_ = c.link.Close()
			return
		}
	}
}

// errOver is a build that the solver does not know any more, or a solver that is gone.
var errOver = errors.New("the build has ended on the solver")

// watch returns when ctx ends, or with errOver when there is nobody to do a build any more. A solver without a history tells nothing.
func (c *Client) watch(ctx context.Context, ref string) error {
	events, err := c.bk.ControlClient().ListenBuildHistory(ctx, &control.BuildHistoryRequest{ActiveOnly: true, Ref: ref})
	for err == nil {
		var event *control.BuildHistoryEvent
		if event, err = events.Recv(); err == nil && event.GetType() == control.BuildHistoryEventType_COMPLETE {
			return errOver
		}
	}
	if grpcerrors.Code(err) == codes.Unimplemented {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // whoever ended ctx knows
	}
	return fmt.Errorf("%w: %w", errOver, err)
}
