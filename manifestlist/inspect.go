// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mab-build/mab/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Inspection is what an index (or a single manifest) holds. Sizes are in bytes.
type Inspection struct {
	Reference   string            `json:"reference"` // in full
	Digest      digest.Digest     `json:"digest"`
	MediaType   string            `json:"mediaType"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Images are in the order of the index.
	Images []InspectedImage `json:"images"`
	// Others are entries that are neither images nor attestations of one.
	Others []ocispec.Descriptor `json:"others,omitempty"`
	// Raw are the bytes that Digest is of.
	Raw []byte `json:"-"`
}

// InspectedImage is one platform's image.
type InspectedImage struct {
	Platform     platforms.Platform     `json:"platform"`
	Digest       digest.Digest          `json:"digest"`
	MediaType    string                 `json:"mediaType"`
	Size         int64                  `json:"size"` // of the manifest
	Annotations  map[string]string      `json:"annotations,omitempty"`
	Config       digest.Digest          `json:"config"`
	Layers       int                    `json:"layers"`
	LayersSize   int64                  `json:"layersSize"` // compressed, as pulled
	Entrypoint   []string               `json:"entrypoint,omitempty"`
	Cmd          []string               `json:"cmd,omitempty"`
	User         string                 `json:"user,omitempty"`
	Attestations []InspectedAttestation `json:"attestations,omitempty"`
}

// InspectedAttestation is one attestation manifest.
type InspectedAttestation struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // of the manifest
	// Kinds are provenance, sbom, or the predicate type in full where it is neither; sorted, each once.
	Kinds []string `json:"kinds"`
}

// predicateKinds gives the common predicate types their short names, by prefix.
// Source: https://github.com/in-toto/attestation/tree/v1.1.1/spec/predicates
var predicateKinds = []struct{ prefix, kind string }{
	{"https://slsa.dev/provenance/", "provenance"},
	{"https://spdx.dev/Document", "sbom"},
	{"https://cyclonedx.org/bom", "sbom"},
}

// Inspect reads the index or manifest that source names (as for Fetch), and the manifests and configs in it, several at
// once. All of them are verified. A platform of which something is missing is an error that names it.
func (c *Client) Inspect(ctx context.Context, source string) (*Inspection, error) {
	f, err := c.find(ctx, source)
	if err != nil {
		return nil, err
	}
	report := &Inspection{
		Reference: f.name, Digest: f.root.desc.Digest, MediaType: f.root.desc.MediaType, Size: f.root.desc.Size, Raw: f.root.raw,
	}
	if err := report.read(ctx, f); err != nil {
		return nil, fmt.Errorf("inspecting %q: %w", source, err)
	}
	return report, nil
}

func (r *Inspection) read(ctx context.Context, f found) error {
	images, others, err := Entries(f.root.desc, f.root.raw)
	if err != nil {
		return err
	}
	r.Others = others
	if isIndexType(r.MediaType) {
		var index ocispec.Index
		if err := json.Unmarshal(f.root.raw, &index); err != nil {
			return fmt.Errorf("reading the index: %w", err)
		}
		r.Annotations = index.Annotations
	}
	return r.readImages(ctx, f.from, images)
}

// Entries lists what an index holds: images, each with its attestations, and other entries, both in its order; of a manifest,
// the one image. raw are the bytes that root describes. Unlike Split it takes what it finds, since an index may come from
// anywhere: the platform of an entry that tells none is zero.
func Entries(root ocispec.Descriptor, raw []byte) (images []Image, others []ocispec.Descriptor, err error) {
	if isImageType(root.MediaType) {
		image := Image{Manifest: root, Raw: raw}
		if root.Platform != nil {
			image.Platform = platforms.FromOCI(*root.Platform)
		}
		return []Image{image}, nil, nil
	}
	if !isIndexType(root.MediaType) {
		return nil, nil, fmt.Errorf("%q is neither an index nor an image", root.MediaType)
	}
	var index ocispec.Index
	if err := parse(raw, root.MediaType, &index, &index.MediaType); err != nil {
		return nil, nil, fmt.Errorf("reading the index: %w", err)
	}
	at := map[digest.Digest]int{}
	for _, desc := range index.Manifests {
		if !isImageType(desc.MediaType) || isAttestation(desc) {
			continue
		}
		at[desc.Digest] = len(images)
		image := Image{Manifest: desc}
		if desc.Platform != nil {
			image.Platform = platforms.FromOCI(*desc.Platform)
		}
		images = append(images, image)
	}
	for _, desc := range index.Manifests {
		i, ok := at[digest.Digest(desc.Annotations[referenceDigest])]
		switch {
		case isAttestation(desc) && isImageType(desc.MediaType) && ok:
			images[i].Attestations = append(images[i].Attestations, desc)
		case isAttestation(desc) || !isImageType(desc.MediaType):
			others = append(others, desc)
		}
	}
	return images, others, nil
}

func (r *Inspection) readImages(ctx context.Context, from Blobs, images []Image) error {
	r.Images = make([]InspectedImage, len(images))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, image := range images {
		out := &r.Images[i]
		out.Attestations = make([]InspectedAttestation, len(image.Attestations))
		g.Go(func() error { return out.readImage(ctx, from, image) })
		for j, desc := range image.Attestations {
			g.Go(func() (err error) {
				out.Attestations[j], err = readAttestation(ctx, from, desc)
				return err
			})
		}
	}
	return g.Wait()
}

func (out *InspectedImage) readImage(ctx context.Context, from Blobs, image Image) error {
	desc := image.Manifest
	m, err := readManifest(ctx, from, desc, image.Raw)
	if err != nil {
		return err
	}
	out.Digest, out.MediaType, out.Size, out.Annotations = desc.Digest, desc.MediaType, desc.Size, desc.Annotations
	out.Config, out.Layers = m.Config.Digest, len(m.Layers)
	for _, l := range m.Layers {
		out.LayersSize += l.Size
	}
	if desc.Platform != nil {
		out.Platform = platforms.FromOCI(*desc.Platform)
	}
	if !isConfigType(m.Config.MediaType) {
		return nil // an artifact: its config is not an image's
	}
	raw, err := ReadBlob(ctx, from, m.Config)
	if err != nil {
		return fmt.Errorf("config of %s: %w", desc.Digest, err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return fmt.Errorf("config of %s: %w", desc.Digest, err)
	}
	if desc.Platform == nil {
		out.Platform = platforms.FromOCI(config.Platform)
	}
	out.Entrypoint, out.Cmd, out.User = config.Config.Entrypoint, config.Config.Cmd, config.Config.User
	return nil
}

func isConfigType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageConfig || mediaType == "application/vnd.docker.container.image.v1+json"
}

func readManifest(ctx context.Context, from Blobs, desc ocispec.Descriptor, raw []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if raw == nil {
		var err error
		if raw, err = ReadBlob(ctx, from, desc); err != nil {
			return m, err
		}
	}
	err := parse(raw, desc.MediaType, &m, &m.MediaType)
	return m, err
}

func readAttestation(ctx context.Context, from Blobs, desc ocispec.Descriptor) (InspectedAttestation, error) {
	m, err := readManifest(ctx, from, desc, nil)
	if err != nil {
		return InspectedAttestation{}, fmt.Errorf("attestation: %w", err)
	}
	out := InspectedAttestation{Digest: desc.Digest, Size: desc.Size, Kinds: []string{}}
	for _, l := range m.Layers {
		out.Kinds = append(out.Kinds, kindOf(l.Annotations["in-toto.io/predicate-type"]))
	}
	slices.Sort(out.Kinds)
	out.Kinds = slices.Compact(out.Kinds)
	return out, nil
}

func kindOf(predicateType string) string {
	for _, row := range predicateKinds {
		if strings.HasPrefix(predicateType, row.prefix) {
			return row.kind
		}
	}
	return predicateType
}
