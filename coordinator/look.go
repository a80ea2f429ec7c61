// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

// LookConfig says how Look gets to nodes. Its zero value looks at the current user's.
type LookConfig struct {
	// Attach finds or starts the local solver.
	Attach solver.AttachConfig
	// Reach is how the others are reached.
	Reach nodes.Config
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
	return look(ctx, cfg.ask, entries, each)
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
	client, info, leave, err := openNode(ctx, c, e)
	if err != nil {
		return nodes.Info{}, err
	}
	if info.Latency == 0 {
		began := time.Now()
		// The second question opens no connection any more.
		_, err = client.Info(ctx)
		info.Latency = time.Since(began).Seconds()
	}
	if err := errors.Join(err, leave()); err != nil {
		return nodes.Info{}, err
	}
	return info, nil
}

// openNode connects to one node and asks what it can. The caller calls leave.
func openNode(ctx context.Context, c LookConfig, e nodes.Entry) (client *solver.Client, info nodes.Info, leave func() error, err error) {
	if e.URL == nodes.Local {
		client, said, err := solver.Attach(ctx, c.Attach)
		if err != nil {
			return nil, nodes.Info{}, nil, err
		}
		return client, nodeInfo(said), client.Close, nil
	}
	reached, err := nodes.Reach(ctx, e, c.Reach)
	if err != nil {
		return nil, nodes.Info{}, nil, err
	}
	timeout := c.Reach.Timeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, said, err := solver.Over(asking, reached.Dial)
	if err != nil {
		return nil, nodes.Info{}, nil, errors.Join(&LostError{Node: e.Name, err: err}, reached.Close())
	}
	info = nodeInfo(said)
	info.Latency = reached.Latency().Seconds()
	return client, info, func() error { return errors.Join(client.Close(), reached.Close()) }, nil
}

// nodeInfo is what a solver said, as nodes tell it. One that is not mab's says only which platforms it found able to run: its own first, and
// of the others not how.
func nodeInfo(said solver.Info) nodes.Info {
	out := nodes.Info{Survey: said.Survey, Machine: nodes.Machine(said.Machine), Running: said.Running}
	if len(out.Survey) > 0 {
		return out
	}
	for i, p := range said.Platforms {
		how := emulation.Emulated
		if i == 0 {
			how = emulation.Native
		}
		out.Survey = append(out.Survey, emulation.Support{Platform: p, How: how})
	}
	return out
}
