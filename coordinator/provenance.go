// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

// The words of an index's provenance: https://slsa.dev/spec/v1.0/provenance. What the build type means is told in docs/results.md.
const (
	slsaPredicate  = "https://slsa.dev/provenance/v1"
	indexBuildType = "https://github.com/mab-build/mab/blob/main/docs/results.md#provenance-of-the-index"
	builderID      = "https://github.com/mab-build/mab"
	provenanceMax  = "max"
)

// indexPredicate is the provenance of an index.
type indexPredicate struct {
	BuildDefinition struct {
		BuildType            string             `json:"buildType"`
		ExternalParameters   indexRequest       `json:"externalParameters"`
		ResolvedDependencies []indexConstituent `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version,omitempty"`
		} `json:"builder"`
		Metadata struct {
			Platforms []indexPlatform `json:"mab_platforms"`
		} `json:"metadata"`
	} `json:"runDetails"`
}

// indexRequest is what of a request is about the index. Arguments are in the provenance of its images.
type indexRequest struct {
	Platforms     []platforms.Platform `json:"platforms"`
	Target        string               `json:"target,omitempty"`
	BuildPlatform platforms.Platform   `json:"build_platform,omitzero"`
}

// indexConstituent is an image of the index, or an attestation of one: a resource descriptor of SLSA.
type indexConstituent struct {
	Name        string            `json:"name"`
	Digest      map[string]string `json:"digest"`
	MediaType   string            `json:"mediaType"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// indexPlatform is a platform of the index, and how it was built.
type indexPlatform struct {
	Platform platforms.Platform `json:"platform"`
	Digest   digest.Digest      `json:"digest"`
	Account
}

// indexProvenance is the provenance of an index. Only the full one names nodes.
func (r *run) indexProvenance(of *commission, index manifestlist.Index, mode string) indexPredicate {
	var out indexPredicate
	out.BuildDefinition.BuildType = indexBuildType
	out.BuildDefinition.ExternalParameters = indexRequest{of.request.Platforms, of.request.Target, of.request.Build}
	out.RunDetails.Builder.ID = builderID
	if r.cfg.Version != "" {
		out.RunDetails.Builder.Version = map[string]string{"mab": r.cfg.Version}
	}
	for _, image := range index.Images {
		p := image.Platform
		add := func(desc ocispec.Descriptor, kind string) {
			out.BuildDefinition.ResolvedDependencies = append(out.BuildDefinition.ResolvedDependencies, indexConstituent{
				Name: p.String(), Digest: map[string]string{desc.Digest.Algorithm().String(): desc.Digest.Encoded()}, MediaType: desc.MediaType,
				Annotations: map[string]string{"kind": kind},
			})
		}
		add(image.Manifest, "image")
		for _, desc := range image.Attestations {
			add(desc, "attestations")
		}
		account, _ := r.account(Goal{of.name, p})
		if mode != provenanceMax {
			account = account.anonymous()
		}
		out.RunDetails.Metadata.Platforms = append(out.RunDetails.Metadata.Platforms, indexPlatform{p, image.Manifest.Digest, account})
	}
	return out
}

// attest gives an index that is to be pushed, or written where it is asked for, its own provenance, if provenance is wanted, and it is an index.
func (r *run) attest(of *commission, index *manifestlist.Index) (err error) {
	mode := of.request.ProvenanceMode()
	attested := slices.ContainsFunc(index.Images, func(i manifestlist.Image) bool { return len(i.Attestations) > 0 })
	// Where images have none, whoever built them was told not to make any, in whatever way.
	names := of.delivery.attested()
	if mode == "" || !attested || names == nil {
		return nil
	}
	index.Referrer, err = manifestlist.NewReferrer(*index, names, slsaPredicate, r.indexProvenance(of, *index, mode))
	return err
}

// pushAttested pushes an index, and returns the digest of its provenance. That a registry does not take that is told, and is no failure: not
// all take artifacts.
func (r *run) pushAttested(ctx context.Context, registry *manifestlist.Client, p *parcel, from manifestlist.Blobs) (digest.Digest, error) {
	_, err := registry.Push(ctx, p.index, p.of.delivery.refs, from)
	var refused *manifestlist.ReferrerError
	if errors.As(err, &refused) {
		r.cfg.Note("the index is pushed, but without its provenance: " + refused.Error())
		return "", nil
	}
	if err != nil || p.index.Referrer == nil {
		return "", err
	}
	return p.index.Referrer.Descriptor.Digest, nil
}
