// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/platforms"
)

// BuildKit's names of what reads Dockerfiles, and of what runs images that do.
const (
	dockerfileFrontend = "dockerfile.v0"
	gatewayFrontend    = "gateway.v0"
)

// withStages is the request that the frontend is asked, with stages of the same Dockerfile as named contexts: each is read first, without
// these contexts and for every platform that may want it, and then given to the frontend as an input. Nothing is run for it. The keys
// are those of https://github.com/moby/buildkit/blob/v0.33.1/frontend/dockerui/namedcontext.go
func withStages(ctx context.Context, gw gateway.Client, attrs, stages map[string]string) (gateway.SolveRequest, error) {
	out := gateway.SolveRequest{Frontend: dockerfileFrontend, FrontendOpt: attrs}
	if len(stages) == 0 {
		return out, nil
	}
	out.FrontendOpt, out.FrontendInputs = maps.Clone(attrs), map[string]*pb.Definition{}
	for _, name := range slices.Sorted(maps.Keys(stages)) {
		res, err := gw.Solve(ctx, gateway.SolveRequest{Frontend: dockerfileFrontend, FrontendOpt: stageAttrs(gw, attrs, stages[name])})
		if err != nil {
			return out, err
		}
		list, err := exptypes.ParsePlatforms(res.Metadata)
		if err != nil {
			return out, fmt.Errorf("reading the platforms of stage %q: %w", stages[name], err)
		}
		for _, p := range list.Platforms {
			key := name + "::" + platforms.FromOCI(p.Platform).String()
			if out.FrontendInputs[key], err = definition(ctx, res.Refs[p.ID]); err != nil {
				return out, err
			}
			config := res.Metadata[exptypes.ExporterImageConfigKey+"/"+p.ID]
			metadata, err := json.Marshal(map[string][]byte{exptypes.ExporterImageConfigKey: config})
			if err != nil {
				return out, fmt.Errorf("writing down the config of stage %q: %w", stages[name], err)
			}
			out.FrontendOpt["context:"+key], out.FrontendOpt["input-metadata:"+key] = "input:"+key, string(metadata)
		}
	}
	return out, nil
}

// stageAttrs asks for a stage alone, and for BUILDPLATFORM as well: FROM --platform=$BUILDPLATFORM may want it.
func stageAttrs(gw gateway.Client, attrs map[string]string, stage string) map[string]string {
	out := maps.Clone(attrs)
	maps.DeleteFunc(out, func(key, _ string) bool { return strings.HasPrefix(key, "attest:") })
	out["target"], out["multi-platform"] = stage, "true"
	own := out["build-arg:BUILDPLATFORM"]
	if p := ownPlatform(gw); own == "" && p != (platforms.Platform{}) {
		own = p.String()
	}
	if own != "" {
		if asked := strings.Split(out["platform"], ","); out["platform"] == "" {
			out["platform"] = own
		} else if !slices.Contains(asked, own) {
			out["platform"] += "," + own
		}
	}
	return out
}

// ownPlatform is what the frontend takes for BUILDPLATFORM by itself: the solver's first. Zero: it lists none.
func ownPlatform(gw gateway.Client) platforms.Platform {
	workers := gw.BuildOpts().Workers
	if len(workers) == 0 || len(workers[0].Platforms) == 0 {
		return platforms.Platform{}
	}
	return platforms.FromOCI(workers[0].Platforms[0])
}
