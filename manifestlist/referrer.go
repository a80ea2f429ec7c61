// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a statement about an index is stored as: https://github.com/in-toto/attestation/blob/main/spec/v1/bundle.md and, for the annotation,
// https://github.com/moby/buildkit/blob/v0.33.1/docs/attestations/attestation-storage.md.
const (
	// InTotoType is the artifact type of a Referrer, and the media type of its statement.
	InTotoType       = "application/vnd.in-toto+json"
	statementType    = "https://in-toto.io/Statement/v1"
	predicateTypeKey = "in-toto.io/predicate-type"
)

// Referrer is an in-toto statement about an index, as an OCI artifact that has the index as its subject: it is found by the index's digest,
// and no part of it. It is made by NewReferrer.
type Referrer struct {
	// Descriptor describes Raw, with the artifact type.
	Descriptor ocispec.Descriptor
	// Raw is the artifact's manifest.
	Raw []byte
	// Statement is the only layer.
	Statement []byte

	subject digest.Digest
	blobs   []ocispec.Descriptor // with their data
}

// Subject is what an in-toto statement is about.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Statement is an in-toto statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.
type Statement struct {
	Type          string    `json:"_type"`
	PredicateType string    `json:"predicateType"`
	Subject       []Subject `json:"subject"`
	Predicate     any       `json:"predicate"`
}

// NewReferrer makes a statement about idx under its names; the same arguments give the same bytes. An index without a name is called by its
// digest.
func NewReferrer(idx Index, names []Reference, predicateType string, predicate any) (*Referrer, error) {
	of := map[string]string{idx.Descriptor.Digest.Algorithm().String(): idx.Descriptor.Digest.Encoded()}
	s := Statement{Type: statementType, PredicateType: predicateType, Predicate: predicate}
	for _, ref := range names {
		s.Subject = append(s.Subject, Subject{ref.packageURL(), of})
	}
	if len(names) == 0 {
		s.Subject = []Subject{{idx.Descriptor.Digest.String(), of}}
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("making a statement about %s: %w", idx.Descriptor.Digest, err)
	}
	layer := ocispec.Descriptor{
		MediaType: InTotoType, Digest: digest.FromBytes(text), Size: int64(len(text)),
		Annotations: map[string]string{predicateTypeKey: predicateType},
	}
	subject := ocispec.Descriptor{MediaType: idx.Descriptor.MediaType, Digest: idx.Descriptor.Digest, Size: idx.Descriptor.Size}
	raw, err := json.MarshalIndent(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: InTotoType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: &subject,
		Annotations: map[string]string{predicateTypeKey: predicateType},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("making a statement about %s: %w", idx.Descriptor.Digest, err)
	}
	withText := layer
	withText.Data = text
	return &Referrer{
		Descriptor: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw)), ArtifactType: InTotoType,
			Annotations: map[string]string{predicateTypeKey: predicateType},
		},
		Raw: raw, Statement: text, subject: subject.Digest, blobs: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON, withText},
	}, nil
}

// refer adds what a referrer has.
func (c *contents) refer(r *Referrer) {
	if r != nil {
		c.manifests = append(c.manifests, document{r.Descriptor, r.Raw})
		c.blobs = append(c.blobs, r.blobs...)
	}
}

// withReferrer adds a referrer to the entries of an index.json: as oras does it, for it is found by its subject, without a name.
func withReferrer(entries []ocispec.Descriptor, r *Referrer) []ocispec.Descriptor {
	if r != nil && !(referrerList{ocispec.Index{Manifests: entries}}).has(r.Descriptor.Digest) {
		entries = append(entries, r.Descriptor)
	}
	// Who takes the first entry means an image.
	slices.SortStableFunc(entries, func(a, b ocispec.Descriptor) int {
		return cmp.Compare(min(1, len(a.ArtifactType)), min(1, len(b.ArtifactType)))
	})
	return entries
}

// packageURL is the name of an image as BuildKit's attestations have it, but for the platform
// (https://github.com/package-url/purl-spec/blob/main/types-doc/docker-definition.md).
func (r Reference) packageURL() string {
	name := Reference{Registry: r.Registry, Repository: r.Repository}.Familiar()
	out := "pkg:docker"
	for part := range strings.SplitSeq(name, "/") {
		// A colon may stand in a path, and is escaped nevertheless by those that BuildKit's are made by.
		out += "/" + strings.ReplaceAll(url.PathEscape(part), ":", "%3A")
	}
	switch {
	case r.Tag != "":
		return out + "@" + url.PathEscape(r.Tag)
	case r.Digest != "":
		return out + "?digest=" + url.QueryEscape(r.Digest.String())
	}
	return out
}

// referrersTag is the tag under which a registry without the referrers API has a list of what refers to a digest
// (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema).
func referrersTag(d digest.Digest) string {
	algorithm, encoded := d.Algorithm().String(), d.Encoded()
	return strings.ReplaceAll(algorithm[:min(len(algorithm), 32)], "+", "_") + "-" + encoded[:min(len(encoded), 64)]
}

// refersPath is that of the referrers API, below /v2/<repository>/.
func refersPath(d digest.Digest) string { return path.Join("referrers", d.String()) }
