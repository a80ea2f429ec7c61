// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/crossbuild"
)

// Attestation is one that the frontend asks to be made of a target, such as an SBOM by a scanner, as BuildKit's
// frontend/gateway/client.Attestation has it.
type Attestation struct {
	// Definition makes it. Nil: it is whole without one.
	Definition *pb.Definition
	// raw is the rest of it, which no one looks at.
	raw []byte
}

// Material is something that a result was made from, for its provenance: a resource descriptor of SLSA v1
// (https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md).
type Material struct {
	URI string `json:"uri"`
	// Digest is by algorithm, in hex.
	Digest map[string]string `json:"digest,omitempty"`
}

// Given is what a Solve solves where the frontend was run by another one.
type Given struct {
	// Targets are those that Decide of the other one was shown, in which steps may have been replaced.
	Targets []Target
	// Materials are to be told of in each target's provenance beside what the solver knows of itself.
	Materials []Material
}

// Giver gives what is to be solved. It is called once, when the solver can be asked for things, and may wait for what is made elsewhere.
type Giver func(ctx context.Context) (Given, error)

// runGiven has what is given be solved, and meanwhile what can be.
func (s *Solve) runGiven(ctx context.Context, gw gateway.Client, attrs map[string]string) (*gateway.Result, error) {
	caches, err := cacheImports(gw.BuildOpts().Opts)
	if err != nil {
		return nil, err
	}
	var early errgroup.Group
	defer func() { _ = early.Wait() }()
	going, stop := context.WithCancel(ctx)
	defer stop()
	var left atomic.Int64
	left.Store(int64(len(s.Early)))
	for _, def := range s.Early {
		early.Go(func() error {
			defer left.Add(-1)
			// Who needs it finds out by itself why it fails.
			_ = evaluate(going, gw, def, caches)
			return nil
		})
	}
	given, err := s.await(ctx)
	if err != nil {
		return nil, err
	}
	w, err := s.wrap(given, attrs, gw.BuildOpts().SessionID)
	if err != nil {
		return nil, err
	}
	var res *gateway.Result
	if !s.client.foreign.Load() {
		res, err = w.ask(ctx, gw, gateway.SolveRequest{Frontend: dockerfileFrontend, FrontendOpt: attrs})
	}
	if err == nil && res == nil {
		res, err = w.solve(ctx, gw, caches)
	}
	if err == nil {
		err = s.addAccounts(res, given.Targets)
	}
	if err != nil || left.Load() == 0 {
		return res, err
	}
	// What was begun early is a part of this: it goes on until the whole is there.
	return res, evaluateAll(ctx, res)
}

// await has Given give. It is not waited for by a solver that is gone.
func (s *Solve) await(ctx context.Context) (Given, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching errgroup.Group
	defer func() { _ = watching.Wait() }()
	defer cancel(nil)
	watching.Go(func() error {
		if err := s.client.watch(ctx, s.ref); err != nil {
			cancel(err)
		}
		return nil
	})
	given, err := s.Given(ctx)
	switch {
	case errors.Is(context.Cause(ctx), errOver):
		return Given{}, context.Cause(ctx)
	case err != nil:
		return Given{}, &stopError{err}
	}
	return given, nil
}

// evaluate solves a definition that belongs to another session.
func evaluate(ctx context.Context, gw gateway.Client, def *pb.Definition, caches []gateway.CacheOptionsEntry) error {
	def, err := crossbuild.ForSession(def, gw.BuildOpts().SessionID)
	if err != nil {
		return fmt.Errorf("beginning early: %w", err)
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def, CacheImports: caches})
	if err != nil {
		return err
	}
	return evaluateAll(ctx, res)
}

func evaluateAll(ctx context.Context, res *gateway.Result) error {
	group, ctx := errgroup.WithContext(ctx)
	one := func(ref gateway.Reference) {
		if ref != nil {
			group.Go(func() error { return ref.Evaluate(ctx) })
		}
	}
	one(res.Ref)
	for _, ref := range res.Refs {
		one(ref)
	}
	return group.Wait()
}

// cacheImports are those that BuildKit's client hands to frontends in the way of
// https://github.com/moby/buildkit/blob/v0.33.1/frontend/dockerui/config.go; definitions that are solved need them anew.
func cacheImports(attrs map[string]string) ([]gateway.CacheOptionsEntry, error) {
	text := attrs["cache-imports"]
	if text == "" {
		return nil, nil
	}
	var out []gateway.CacheOptionsEntry
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("reading the caches that are to be read: %w", err)
	}
	return out, nil
}
