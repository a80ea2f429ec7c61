// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mab-build/mab/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Changes are what Annotate writes into an index. Of MergeOptions it takes the annotations.
type Changes struct {
	MergeOptions
	// Remove are annotations to take away, before others are added.
	Remove []Annotated
	// Details of platforms' descriptors that are set; what a Detail leaves empty stays as it is.
	Details map[platforms.Platform]Detail
}

// Annotated is the name of an annotation, and where it is: in the index itself, or on the descriptors of the images.
type Annotated struct {
	Manifests bool
	Platform  platforms.Platform // of Manifests; zero: all
	Name      string
}

// Detail is what a descriptor's platform says besides operating system and architecture.
type Detail struct {
	Variant, OSVersion string
	OSFeatures         []string
}

// Annotate returns idx with changes made. Entries keep their order and their digests, and what is not changed its bytes' meaning; a
// docker manifest list becomes an OCI index, since only that has annotations. A platform that the index has not is an error, so is a single
// manifest.
func Annotate(root ocispec.Descriptor, raw []byte, changes Changes) (Index, error) {
	idx, err := changes.annotate(root, raw)
	if err != nil {
		return Index{}, fmt.Errorf("annotating %s: %w", root.Digest, err)
	}
	return idx, nil
}

func (c Changes) annotate(root ocispec.Descriptor, raw []byte) (Index, error) {
	if !isIndexType(root.MediaType) {
		return Index{}, hintf(errors.New("it is a single image, not an index"), "make it an index: mab index create -t REFERENCE REFERENCE")
	}
	images, _, err := Entries(root, raw)
	if err != nil {
		return Index{}, err
	}
	var there []platforms.Platform
	for _, image := range images {
		there = append(there, image.Platform)
	}
	for _, p := range c.named() {
		if p != (platforms.Platform{}) && !slices.Contains(there, p) {
			return Index{}, hintf(fmt.Errorf("%s is not in it", p), "the platforms are %s", list(there))
		}
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return Index{}, err
	}
	c.edit(&index)
	index.MediaType = ocispec.MediaTypeImageIndex
	if raw, err = json.MarshalIndent(index, "", "  "); err != nil {
		return Index{}, err
	}
	desc := ocispec.Descriptor{
		MediaType: index.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)), Annotations: maps.Clone(c.DescriptorAnnotations),
	}
	if images, _, err = Entries(desc, raw); err != nil {
		return Index{}, err
	}
	return Index{Descriptor: desc, Raw: raw, Images: images}, distinct(images)
}

// named are all platforms that changes speak of, in a fixed order.
func (c Changes) named() []platforms.Platform {
	out := slices.Collect(maps.Keys(c.ManifestAnnotations))
	out = append(out, slices.Collect(maps.Keys(c.Details))...)
	for _, a := range c.Remove {
		out = append(out, a.Platform)
	}
	slices.SortFunc(out, platforms.Compare)
	return out
}

// distinct refuses two images for one platform.
func distinct(images []Image) error {
	seen := map[slot]bool{}
	for _, image := range images {
		if key := slotOf(image); seen[key] {
			return Refusal{fmt.Errorf("two images for %s would be in it", image.Platform)}
		}
		seen[slotOf(image)] = true
	}
	return nil
}

func (c Changes) edit(index *ocispec.Index) {
	for _, a := range c.Remove {
		if !a.Manifests {
			delete(index.Annotations, a.Name)
		}
	}
	index.Annotations = over(index.Annotations, c.IndexAnnotations)
	for i := range index.Manifests {
		desc := &index.Manifests[i]
		if isAttestation(*desc) || desc.Platform == nil {
			continue
		}
		p := platforms.FromOCI(*desc.Platform)
		for _, a := range c.Remove {
			if a.Manifests && (a.Platform == p || a.Platform == platforms.Platform{}) {
				delete(desc.Annotations, a.Name)
			}
		}
		for _, key := range []platforms.Platform{{}, p} {
			desc.Annotations = over(desc.Annotations, c.ManifestAnnotations[key])
		}
		c.Details[p].set(desc.Platform)
	}
}

func over(old, more map[string]string) map[string]string {
	if len(more) == 0 {
		return old
	}
	if old == nil {
		old = map[string]string{}
	}
	maps.Copy(old, more)
	return old
}

func (d Detail) set(p *ocispec.Platform) {
	if d.Variant != "" {
		changed := *p
		changed.Variant = d.Variant
		p.Variant = platforms.FromOCI(changed).Variant
	}
	if d.OSVersion != "" {
		p.OSVersion = d.OSVersion
	}
	if len(d.OSFeatures) > 0 {
		p.OSFeatures = slices.Clone(d.OSFeatures)
	}
}

// Agree checks that the configs of an index's images agree with the platforms of their descriptors, as Gather does (Refusal).
func Agree(ctx context.Context, idx Index, from Blobs) error {
	part := Part{Name: idx.Descriptor.Digest.String(), Root: idx.Descriptor, Raw: idx.Raw}
	return part.read(ctx, from)
}
