// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

// LookConfig says how Look gets to nodes. Its zero value looks at the current user's.
type LookConfig struct {
	// Attach finds or starts the local solver.
	Attach solver.AttachConfig
	// Reach is how the others are reached.
	Reach nodes.Config
	// Measure has the bandwidth of links measured, too, which sends some megabytes.
	Measure bool
}

// Found is what a node was found to be.
type Found struct {
	// Node has the entry that was given, and an info if there is no error.
	Node nodes.Node
	// Took is how long it took to find out.
	Took time.Duration
	// Err is why nothing was found out. It has a Hint where the user can mend it.
	Err error
}

// Look asks all nodes at once what they are, each within its own time-out, and returns what was found in the order of the entries. It calls
// each, if that is not nil, as answers come in, one call at a time. Nothing is held afterwards; solvers that were started stop by themselves.
func Look(ctx context.Context, cfg LookConfig, entries []nodes.Entry, each func(Found)) []Found {
	out := look(ctx, cfg.ask, entries, each)
	openAcquaintances(cfg.Attach.State).meet(out)
	return out
}

func look(ctx context.Context, ask func(context.Context, nodes.Entry) (nodes.Info, error), entries []nodes.Entry, each func(Found)) []Found {
	out := make([]Found, len(entries))
	var mu sync.Mutex
	// One that fails ends nobody else's question.
	var group errgroup.Group
	for i, e := range entries {
		group.Go(func() error {
			began := time.Now()
			info, err := ask(ctx, e)
			found := Found{Node: nodes.Node{Entry: e, Info: info}, Took: time.Since(began), Err: err}
			out[i] = found
			if each != nil {
				mu.Lock()
				defer mu.Unlock()
				each(found)
			}
			return nil
		})
	}
	_ = group.Wait()
	return out
}

// ask finds out about one node, and leaves it.
func (c LookConfig) ask(ctx context.Context, e nodes.Entry) (nodes.Info, error) {
	m, err := open(ctx, c, e)
	if err != nil {
		return nodes.Info{}, err
	}
	if m.Info.Latency == 0 {
		began := time.Now()
		// The second question opens no connection any more.
		_, err = m.client.Info(ctx)
		m.Info.Latency = time.Since(began).Seconds()
	}
	if c.Measure && m.reached != nil && err == nil {
		// One whose shell lacks a program for it is none the worse, and a link that was lost says so below.
		m.Info.Up, m.Info.Down, _ = m.reached.Bandwidth(ctx)
		err = m.reached.Err()
	}
	if !c.Measure {
		openAcquaintances(c.Attach.State).recall(e, &m.Info)
	}
	return m.Info, errors.Join(err, m.close())
}
