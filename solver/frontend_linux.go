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
func (f givenFrontend) Solve(ctx context.Context, bridge frontend.FrontendLLBBridge, exec executor.Executor, opts map[string]string,
	inputs map[string]*pb.Definition, session string, sessions *session.Manager,
) (*frontend.Result, error) {
	if text := opts[givenKey]; text != "" {
		return solveGiven(ctx, bridge, text, opts, inputs, session)
	}
	seen := &observedBridge{FrontendLLBBridge: bridge}
	res, err := f.Frontend.Solve(ctx, seen, exec, opts, inputs, session, sessions)
	if err != nil {
		return nil, err
	}
	return res, seen.note(res)
}

// solveGiven answers as a frontend would have. BuildKit's provenance tells of opts and inputs as they are afterwards.
func solveGiven(ctx context.Context, bridge frontend.FrontendLLBBridge, text string, opts map[string]string, inputs map[string]*pb.Definition, session string) (*frontend.Result, error) {
	var f form
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return nil, fmt.Errorf("reading the form of the build: %w", err)
	}
	caches, err := cacheImports(opts)
	if err != nil {
		return nil, err
	}
	given := maps.Clone(inputs)
	maps.DeleteFunc(inputs, func(name string, _ *pb.Definition) bool { return strings.HasPrefix(name, givenKey+"/") })
	delete(opts, givenKey)
	if f.Notes != "" {
		opts[notesKey] = f.Notes
	}
	if f.Syntax != nil {
		return handOn(ctx, bridge, f, opts, given, session)
	}
	res, err := formed(f, func(input string, target bool) (solver.ResultProxy, error) {
		request := frontend.SolveRequest{Definition: given[input]}
		if len(request.Definition.GetDef()) == 0 {
			return nil, nil
		}
		if target {
			request.CacheImports = caches
		}
		res, err := bridge.Solve(ctx, request, session)
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
func handOn(ctx context.Context, bridge frontend.FrontendLLBBridge, f form, opts map[string]string, given map[string]*pb.Definition, session string) (*frontend.Result, error) {
	opts["cmdline"], opts["source"] = f.Syntax.Cmdline, f.Syntax.Source
	f.Syntax = nil
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("writing down the form of the build: %w", err)
	}
	inner := maps.Clone(opts)
	inner[givenKey] = string(text)
	return bridge.Solve(ctx, frontend.SolveRequest{Frontend: gatewayFrontend, FrontendOpt: inner, FrontendInputs: given}, session)
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
	if req.Frontend == gatewayFrontend {
		b.notes.Syntax = &syntax{Source: req.FrontendOpt["source"], Cmdline: req.FrontendOpt["cmdline"]}
	} else if req.Frontend == "" {
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
