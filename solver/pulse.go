// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"time"
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
