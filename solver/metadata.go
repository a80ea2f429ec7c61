// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	provenancetypes "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/platforms"
)

// Warning is one that a build gives, such as of a check of the Dockerfile.
type Warning = client.VertexWarning

// Provenance is what the solver's history says of a build, whatever attestations were asked for: for each platform a predicate of SLSA v0.2,
// as docker buildx writes it into its metadata file. Without detailed, steps and times are left out. The only platform of a build that
// was not for several is zero.
func (c *Client) Provenance(ctx context.Context, ref string, detailed bool) (map[platforms.Platform]json.RawMessage, error) {
	out, err := c.provenance(ctx, ref, detailed)
	if err != nil {
		return nil, fmt.Errorf("reading the provenance of the build %s: %w", ref, err)
	}
	return out, nil
}

func (c *Client) provenance(ctx context.Context, ref string, detailed bool) (map[platforms.Platform]json.RawMessage, error) {
	events, err := c.bk.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{Ref: ref, EarlyExit: true})
	if err != nil {
		return nil, err
	}
	out := map[platforms.Platform]json.RawMessage{}
	for {
		event, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		results := event.GetRecord().GetResults()
		if one := event.GetRecord().GetResult(); one != nil && len(results) == 0 {
			results = map[string]*controlapi.BuildResultInfo{"": one}
		}
		for id, result := range results {
			var p platforms.Platform
			if id != "" {
				if p, err = platforms.Parse(id); err != nil {
					return nil, err
				}
			}
			text, err := c.predicate(ctx, result, id, detailed)
			if err != nil {
				return nil, err
			}
			if text != nil {
				out[p] = text
			}
		}
	}
}

// predicate reads that of a result. Nil: it has none.
func (c *Client) predicate(ctx context.Context, result *controlapi.BuildResultInfo, id string, detailed bool) (json.RawMessage, error) {
	for _, a := range result.GetAttestations() {
		kind := a.Annotations["in-toto.io/predicate-type"]
		if !strings.HasPrefix(kind, "https://slsa.dev/provenance/") {
			continue
		}
		raw, err := content.ReadBlob(ctx, proxy.NewContentStore(c.bk.ContentClient()), ocispec.Descriptor{
			MediaType: a.MediaType, Digest: digest.Digest(a.Digest), Size: a.Size,
		})
		if err != nil {
			return nil, err
		}
		return metadataProvenance(raw, id, detailed)
	}
	return nil, nil
}

// metadataProvenance makes of a predicate of the history one of SLSA v0.2, with what notes tell of the platform.
func metadataProvenance(raw []byte, id string, detailed bool) (json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("reading provenance: %w", err)
	}
	if err := tell(doc, id); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("writing provenance: %w", err)
	}
	var out *provenancetypes.ProvenancePredicateSLSA02
	if doc["buildDefinition"] != nil {
		var of provenancetypes.ProvenancePredicateSLSA1
		if err = json.Unmarshal(raw, &of); err == nil {
			out = of.ConvertToSLSA02()
		}
	} else {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("reading provenance: %w", err)
	}
	if !detailed {
		out.BuildConfig, out.Metadata = nil, nil
	}
	return json.Marshal(out)
}
