// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	controlapi "github.com/moby/buildkit/api/services/control"
)

// errOutdated is a solver that was, or is to be, stopped because it has another config.
var errOutdated = errors.New("the running solver has another config, or is of another mab")

// difference says what sets a running solver apart from the one that would be started now; both texts are empty if nothing does. Of
// one that others started, only the first is said.
func (c AttachConfig) difference(info Info, state State) (others, busy string) {
	if own := state.self().mab; info.Mab != own {
		text := fmt.Sprintf("the running solver is of mab %s, this is mab %s", cmp.Or(info.Mab, "before 1.0"), own)
		return text + "; to start a new one: mab serve --stop",
			text + ", whose own starts when no build runs any more; or stop it with: mab serve --stop"
	}
	if info.Config == c.Config.Digest() {
		return "", ""
	}
	if c.Config.File != "" {
		others = fmt.Sprintf("the running solver was not started with %s: it pulls and pushes as its own config says; stop it first with: mab serve --stop", c.Config.File)
	}
	return others, "the config has changed since the solver was started, and counts for it when no build runs any more; or stop it with: mab serve --stop"
}

// running connects to the solver that runs, unless it should be started anew with another config or of this mab. Who holds the lock on starts says
// replace: then that solver is stopped.
func (c AttachConfig) running(ctx context.Context, state State, replace bool) (*Client, Info, error) {
	held, err := share(ctx, state)
	if err != nil {
		return nil, Info{}, fmt.Errorf("holding the solver: %w", err)
	}
	client, info, err := try(ctx, state)
	if err != nil && replace {
		c.notes()
	}
	if err != nil {
		return nil, Info{}, errors.Join(err, held.Close())
	}
	client.held = held
	keep, err := c.keeps(ctx, client, info, state)
	if keep && err == nil {
		return client, info, nil
	}
	if err == nil && replace && !held.alone() {
		_, during := c.difference(info, state)
		c.note(during)
		return client, info, held.shared()
	}
	err = errors.Join(err, errOutdated)
	if replace {
		c.notes()
		err = errors.Join(err, Stop(ctx, state))
	}
	return nil, Info{}, errors.Join(err, client.Close())
}

// keeps reports whether the running solver is to be used as it is, and tells the user if it is not the one that would be started now.
func (c AttachConfig) keeps(ctx context.Context, client *Client, info Info, state State) (bool, error) {
	others, during := c.difference(info, state)
	if during == "" {
		return true, nil
	}
	if !info.OnDemand {
		if others != "" {
			c.note(others)
		}
		return true, nil
	}
	busy, err := client.busy(ctx)
	if busy {
		c.note(during)
	}
	return busy, err
}

// notes tells what of the config the solver will not follow that is about to be started.
func (c AttachConfig) notes() {
	for _, n := range c.Config.Notes {
		c.note(n)
	}
}

func (c AttachConfig) note(text string) {
	if c.Note != nil {
		c.Note(text)
	}
}

// busy reports whether a build runs.
func (c *Client) busy(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := c.bk.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{ActiveOnly: true, EarlyExit: true})
	if err == nil {
		_, err = events.Recv()
	}
	switch {
	case errors.Is(err, io.EOF):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("asking the solver what it builds: %w", err)
	}
	return true, nil
}
