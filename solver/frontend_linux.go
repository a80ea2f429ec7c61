// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	captured "github.com/moby/buildkit/solver/llbsolver/provenance"
	provenancetypes "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
)

// givenFrontend is one of BuildKit's that can also be given what it would have made, so that BuildKit's provenance tells of it as ever. Of
// what it makes by itself it notes what that took.
type givenFrontend struct{ frontend.Frontend }

// Solve is BuildKit's.
func (f givenFrontend) Solve( //nolint:revive // the arguments are those of BuildKit's interface
	ctx context.Context, bridge frontend.FrontendLLBBridge, exec executor.Executor, opts map[string]string,
	inputs map[string]*pb.Definition, session string, sessions *session.Manager,
) (*frontend.Result, error) {
	if text := opts[givenKey]; text != "" {
		return frontendRequest{bridge, opts, inputs, session}.solveGiven(ctx, text)
	}
	seen := &observedBridge{FrontendLLBBridge: bridge}
	res, err := f.Frontend.Solve(ctx, seen, exec, opts, inputs, session, sessions)
	if err != nil {
		return nil, err
	}
	return res, seen.note(res)
}

// frontendRequest is what a frontend is asked, and whom it may ask.
type frontendRequest struct {
	bridge  frontend.FrontendLLBBridge
	opts    map[string]string
	inputs  map[string]*pb.Definition
	session string
}

// solveGiven answers as a frontend would have. BuildKit's provenance tells of opts and inputs as they are afterwards.
func (r frontendRequest) solveGiven(ctx context.Context, text string) (*frontend.Result, error) {
	var f form
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return nil, fmt.Errorf("reading the form of the build: %w", err)
	}
	caches, err := cacheImports(r.opts)
	if err != nil {
		return nil, err
	}
	given := maps.Clone(r.inputs)
	maps.DeleteFunc(r.inputs, func(name string, _ *pb.Definition) bool { return strings.HasPrefix(name, givenKey+"/") })
	delete(r.opts, givenKey)
	if f.Notes != "" {
		r.opts[notesKey] = f.Notes
	}
	if f.Syntax != nil {
		return r.handOn(ctx, f, given)
	}
	res, err := formed(f, func(input string, target bool) (solver.ResultProxy, error) {
		ask := frontend.SolveRequest{Definition: given[input]}
		if len(ask.Definition.GetDef()) == 0 {
			return nil, nil
		}
		if target {
			ask.CacheImports = caches
		}
		res, err := r.bridge.Solve(ctx, ask, r.session)
		if err != nil {
			return nil, err
		}
		return res.SingleRef()
	})
	if err != nil {
		return nil, err
	}
	res.AddMeta(givenKey, []byte{1})
	return res, nil
}

// handOn has another frontend be the one, as BuildKit's does that finds a syntax line.
func (r frontendRequest) handOn(ctx context.Context, f form, given map[string]*pb.Definition) (*frontend.Result, error) {
	r.opts["cmdline"], r.opts["source"] = f.Syntax.Cmdline, f.Syntax.Source
	f.Syntax = nil
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("writing down the form of the build: %w", err)
	}
	inner := maps.Clone(r.opts)
	inner[givenKey] = string(text)
	return r.bridge.Solve(ctx, frontend.SolveRequest{Frontend: gatewayFrontend, FrontendOpt: inner, FrontendInputs: given}, r.session)
}

// observedBridge sees what a frontend asks BuildKit for, as BuildKit's own provenance does
// (https://github.com/moby/buildkit/blob/v0.33.1/solver/llbsolver/provenance.go).
type observedBridge struct {
	frontend.FrontendLLBBridge

	mu     sync.Mutex
	notes  frontendNotes
	images []provenancetypes.ImageSource
	solved []*frontend.Result
}

// ResolveSourceMetadata notes images.
func (b *observedBridge) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	out, err := b.FrontendLLBBridge.ResolveSourceMetadata(ctx, op, opt)
	if err != nil || out.Image == nil {
		return out, err
	}
	ref, remote := strings.CutPrefix(out.Op.Identifier, "docker-image://")
	image := provenancetypes.ImageSource{Ref: strings.TrimPrefix(ref, "oci-layout://"), Digest: out.Image.Digest, Local: !remote}
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		image.Platform = opt.ImageOpt.Platform
	} else if opt.OCILayoutOpt != nil {
		image.Platform = opt.OCILayoutOpt.Platform
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.images = append(b.images, image)
	return out, nil
}

// Solve notes what is read, and who else is asked.
func (b *observedBridge) Solve(ctx context.Context, req frontend.SolveRequest, session string) (*frontend.Result, error) {
	out, err := b.FrontendLLBBridge.Solve(ctx, req, session)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch req.Frontend {
	case gatewayFrontend:
		b.notes.Syntax = &syntax{Source: req.FrontendOpt["source"], Cmdline: req.FrontendOpt["cmdline"]}
	case "":
		b.solved = append(b.solved, out)
	}
	return out, nil
}

// note adds to a frontend's result what it did. Where that was another's, that one has told of it.
func (b *observedBridge) note(res *frontend.Result) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text := res.Metadata[readKey]; text != nil && b.notes.Syntax != nil {
		var inner frontendNotes
		if err := json.Unmarshal(text, &inner); err != nil {
			return fmt.Errorf("reading what the frontend did: %w", err)
		}
		b.notes.Sources = inner.Sources
	} else {
		var all captured.Capture
		for _, out := range b.solved {
			// Only what was needed to read the Dockerfile was solved so far.
			err := out.EachRef(func(ref solver.ResultProxy) error {
				c, _ := ref.Provenance().(*captured.Capture)
				return all.Merge(c)
			})
			if err != nil {
				return fmt.Errorf("noting what the frontend read: %w", err)
			}
		}
		for _, image := range b.images {
			all.AddImage(image)
		}
		all.Sort()
		b.notes.Sources = all.Sources
	}
	text, err := json.Marshal(b.notes)
	if err != nil {
		return fmt.Errorf("noting what the frontend did: %w", err)
	}
	res.AddMeta(readKey, text)
	return nil
}
