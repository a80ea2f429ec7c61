// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mab-build/mab/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Part is an index or a manifest that another index is made of. It comes from Gather.
type Part struct {
	Name string // as it was given, for messages
	Root ocispec.Descriptor
	Raw  []byte // the bytes that Root describes
	// Images are in the order of the index, each with its attestations; their platforms are known, and their configs agree.
	Images []Image
	// Orphans are attestations of images that are not in the index.
	Orphans []ocispec.Descriptor
}

// Composition says what Compose makes of its parts. The zero value takes all images in the order of the parts.
type Composition struct {
	MergeOptions
	// Platforms are those to take, in this order. Empty: all.
	Platforms []platforms.Platform
	// Exact refuses what is there besides Platforms instead of leaving it out.
	Exact bool
	// Sorted orders all images by their platforms, if Platforms does not say how: parts in any order give the same bytes.
	Sorted bool
	// Base keeps the annotations of the first part, which the others are added to.
	Base bool
	// KeepManifest takes a part that is the only one as it is, even if it is a single manifest (buildx's --prefer-index=false).
	KeepManifest bool
}

// Refusal is a finding about what an index would be made of: it is not to be published. It has the hint of what it wraps.
type Refusal struct{ error }

// Unwrap returns the finding.
func (r Refusal) Unwrap() error { return r.error }

// Refused marks the error, for the exit code.
func (Refusal) Refused() bool { return true }

// Compose makes an index of what is in parts: their images, each with its attestations, ordered as opts says, but of one
// architecture the plain variants first. The same image twice is taken once; two images for one platform are refused, and a
// platform of opts.Platforms that no part has. Such errors are a Refusal. One index that is taken whole stays as it is, byte for byte,
// unless opts adds to it; it keeps its annotations in any case.
func Compose(parts []Part, opts Composition) (Index, error) {
	images, err := union(parts)
	if err != nil {
		return Index{}, Refusal{fmt.Errorf("composing the index: %w", err)}
	}
	if images, err = opts.choose(images); err != nil {
		return Index{}, Refusal{fmt.Errorf("composing the index: %w", err)}
	}
	if len(parts) == 1 && opts.untouched() && (opts.KeepManifest || isIndexType(parts[0].Root.MediaType)) {
		root := parts[0].Root
		root.Annotations, root.URLs = nil, nil
		return Index{Descriptor: root, Raw: parts[0].Raw, Images: images}, nil
	}
	if len(parts) == 1 || opts.Base {
		opts.IndexAnnotations = withOwn(parts[0], opts.IndexAnnotations)
	}
	return opts.write(images)
}

func (o Composition) untouched() bool {
	return len(o.IndexAnnotations)+len(o.DescriptorAnnotations)+len(o.ManifestAnnotations)+len(o.Platforms) == 0
}

func (o Composition) write(images []Image) (Index, error) {
	for p := range o.ManifestAnnotations {
		if p != (platforms.Platform{}) && !slices.ContainsFunc(images, func(i Image) bool { return i.Platform == p }) {
			return Index{}, hintf(fmt.Errorf("composing the index: annotation for %s, which is not in it", p),
				"the platforms are %s", list(slices.Collect(platformsOf(images))))
		}
	}
	images = slices.Clone(images)
	for i := range images {
		images[i].Manifest = describe(images[i], o.MergeOptions)
		// Docker's media types have no annotations; an OCI index may hold docker's images.
		o.OCI = o.OCI || len(images[i].Manifest.Annotations) > 0
	}
	o.OCI = o.OCI || len(o.IndexAnnotations)+len(o.DescriptorAnnotations) > 0
	return assemble(images, o.MergeOptions)
}

// withOwn are the annotations of a part that is an index, with others over them.
func withOwn(part Part, over map[string]string) map[string]string {
	var index ocispec.Index
	if !isIndexType(part.Root.MediaType) || json.Unmarshal(part.Raw, &index) != nil || len(index.Annotations) == 0 {
		return over
	}
	maps.Copy(index.Annotations, over)
	return index.Annotations
}

// slot is a place in an index: Windows has several images for one platform, told apart by the system's version.
type slot struct {
	platforms.Platform
	version, features string
}

func slotOf(image Image) slot {
	s := slot{Platform: image.Platform}
	if p := image.Manifest.Platform; p != nil {
		s.version, s.features = p.OSVersion, strings.Join(p.OSFeatures, ",")
	}
	return s
}

// union lists the images of all parts, each once.
func union(parts []Part) ([]Image, error) {
	var images []Image
	at, origin := map[slot]int{}, map[slot]string{}
	byDigest := map[digest.Digest]slot{}
	for _, part := range parts {
		for _, image := range part.Images {
			key := slotOf(image)
			if other, ok := byDigest[image.Manifest.Digest]; ok && other != key {
				return nil, hintf(fmt.Errorf("%s and %s have the same image %s", other.Platform, key.Platform, image.Manifest.Digest),
					"an image is for one platform; one of the descriptors tells the wrong one")
			}
			byDigest[image.Manifest.Digest] = key
			i, ok := at[key]
			if !ok {
				at[key], origin[key] = len(images), part.Name
				images = append(images, image)
				continue
			}
			if images[i].Manifest.Digest != image.Manifest.Digest {
				return nil, hintf(fmt.Errorf("two images for %s: %s of %s, and %s of %s", key.Platform,
					images[i].Manifest.Digest, origin[key], image.Manifest.Digest, part.Name),
					"an index holds one image for a platform; leave one of the sources out, or choose what to take: --platform")
			}
			images[i].Attestations = withNew(images[i].Attestations, image.Attestations)
		}
	}
	return images, nil
}

func withNew(list, more []ocispec.Descriptor) []ocispec.Descriptor {
	list = slices.Clone(list)
	for _, desc := range more {
		if !slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == desc.Digest }) {
			list = append(list, desc)
		}
	}
	return list
}

// choose orders images, and takes those that are asked for.
func (o Composition) choose(images []Image) ([]Image, error) {
	if len(images) == 0 {
		return nil, errors.New("the sources hold no image")
	}
	there := slices.Collect(platformsOf(images))
	sorted := slices.Clone(images)
	for i := range sorted {
		if o.Sorted {
			sorted[i].Attestations = slices.SortedFunc(slices.Values(sorted[i].Attestations), func(a, b ocispec.Descriptor) int {
				return cmp.Compare(a.Digest, b.Digest)
			})
		}
	}
	if o.Sorted || len(o.Platforms) > 0 {
		slices.SortStableFunc(sorted, func(a, b Image) int {
			x, y := slotOf(a), slotOf(b)
			return cmp.Or(
				cmp.Compare(slices.Index(o.Platforms, a.Platform), slices.Index(o.Platforms, b.Platform)),
				platforms.Compare(a.Platform, b.Platform),
				cmp.Compare(x.version, y.version), cmp.Compare(x.features, y.features),
			)
		})
	}
	if len(o.Platforms) == 0 {
		return sorted, nil
	}
	for _, p := range o.Platforms {
		if !slices.Contains(there, p) {
			return nil, hintf(fmt.Errorf("no image for %s", p), "there are images for %s", list(there))
		}
	}
	var taken []Image
	for _, image := range sorted {
		switch {
		case slices.Contains(o.Platforms, image.Platform):
			taken = append(taken, image)
		case o.Exact:
			return nil, hintf(fmt.Errorf("an image for %s is there, which was not asked for", image.Platform), "asked for were %s", list(o.Platforms))
		}
	}
	return taken, nil
}
