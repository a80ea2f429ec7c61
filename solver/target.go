// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	provenancetypes "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/platforms"
)

// Target is what the frontend made of the Dockerfile for one platform, before anything of it is run.
type Target struct {
	Platform   platforms.Platform
	Definition *pb.Definition
	// Metadata is what else the frontend says of it, such as the image's config, by BuildKit's keys without the platform
	// (exporter/containerimage/exptypes).
	Metadata map[string][]byte
	// Attestations are those that the frontend wants to be made of it.
	Attestations []Attestation

	// read is how the frontend came to it. Nil: nothing is known of that.
	read *reading
}

// reading is what a solve that is given a target must know of the one in which the frontend was run.
type reading struct {
	// definition is what the frontend made, whatever the target's own becomes.
	definition *pb.Definition
	// platform is the target's as the frontend names it.
	platform exptypes.Platform
	// common are the names of metadata that is about all targets.
	common []string
	notes  frontendNotes
}

// frontendNotes is what a frontend of a solver of mab's did, in the metadata readKey of its result.
type frontendNotes struct {
	// Sources are what it resolved and read.
	Sources provenancetypes.Sources `json:"sources"`
	Syntax  *syntax                 `json:"syntax,omitempty"`
}

const readKey = "build.mab.read"

func (r *reading) graph() *pb.Definition {
	if r == nil {
		return nil
	}
	return r.definition
}

func (r *reading) ofAll(name string) bool { return r != nil && slices.Contains(r.common, name) }

func (r *reading) handedOn() *syntax {
	if r == nil {
		return nil
	}
	return r.notes.Syntax
}

// exported is the target's platform as results name it.
func (t *Target) exported() exptypes.Platform {
	if t.read != nil {
		return t.read.platform
	}
	return exptypes.Platform{ID: t.Platform.String(), Platform: t.Platform.OCI()}
}

// targets reads the graph of each platform out of an unevaluated result, if anybody wants to see them. What only mab's solvers say is taken
// out of the result.
func (s *Solve) targets(ctx context.Context, res *gateway.Result) ([]Target, error) {
	var notes frontendNotes
	if text := res.Metadata[readKey]; text != nil {
		delete(res.Metadata, readKey)
		if err := json.Unmarshal(text, &notes); err != nil {
			return nil, fmt.Errorf("reading what the frontend did: %w", err)
		}
	}
	if s.Decide == nil && s.Account == nil {
		return nil, nil
	}
	list, err := exptypes.ParsePlatforms(res.Metadata)
	if err != nil {
		return nil, fmt.Errorf("reading the platforms of the build: %w", err)
	}
	single := res.Ref != nil || len(res.Refs) == 0
	if single {
		list.Platforms = list.Platforms[:1]
	}
	out := make([]Target, 0, len(list.Platforms))
	for _, p := range list.Platforms {
		t := Target{Platform: platforms.FromOCI(p.Platform), read: &reading{platform: p, notes: notes}}
		ref := res.Refs[p.ID]
		if single {
			t.Platform, ref = s.only(res), res.Ref
		}
		if t.Definition, err = definition(ctx, ref); err != nil {
			return nil, err
		}
		t.read.definition = t.Definition
		t.metadata(res.Metadata, list.Platforms, single)
		if t.Attestations, err = attestations(ctx, res.Attestations[p.ID]); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// metadata takes of a result's what is about the target. Without a platform it is about all of them, or about the only one.
func (t *Target) metadata(all map[string][]byte, list []exptypes.Platform, single bool) {
	t.Metadata = map[string][]byte{}
	for key, value := range all {
		if key == exptypes.ExporterPlatformsKey {
			continue
		}
		name, own := strings.CutSuffix(key, "/"+t.read.platform.ID)
		switch {
		case own:
			t.Metadata[name] = value
		case slices.ContainsFunc(list, func(p exptypes.Platform) bool { return strings.HasSuffix(key, "/"+p.ID) }):
		default:
			if _, own := all[key+"/"+t.read.platform.ID]; own {
				continue
			}
			t.Metadata[key] = value
			if !single {
				t.read.common = append(t.read.common, key)
			}
		}
	}
	slices.Sort(t.read.common)
}

func attestations(ctx context.Context, list []gateway.Attestation) ([]Attestation, error) {
	var out []Attestation
	for _, a := range list {
		message, err := gateway.AttestationToPB(&a)
		if err != nil {
			return nil, fmt.Errorf("reading the attestations of the build: %w", err)
		}
		var t Attestation
		if t.raw, err = message.MarshalVT(); err != nil {
			return nil, fmt.Errorf("reading the attestations of the build: %w", err)
		}
		if a.Ref != nil {
			if t.Definition, err = definition(ctx, a.Ref); err != nil {
				return nil, err
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// only is the platform of a build for one platform: what was asked for, or what the frontend chose.
func (s *Solve) only(res *gateway.Result) platforms.Platform {
	if len(s.Request.Platforms) == 1 {
		return s.Request.Platforms[0]
	}
	if list, err := exptypes.ParsePlatforms(res.Metadata); err == nil && len(list.Platforms) == 1 {
		return platforms.FromOCI(list.Platforms[0].Platform)
	}
	return platforms.Host()
}

// definition is empty for a Dockerfile that ends in an empty `FROM scratch`.
func definition(ctx context.Context, ref gateway.Reference) (*pb.Definition, error) {
	if ref == nil {
		return &pb.Definition{}, nil
	}
	state, err := ref.ToState()
	if err != nil {
		return nil, fmt.Errorf("reading the build's graph: %w", err)
	}
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the build's graph: %w", err)
	}
	return def.ToPB(), nil
}
