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
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MergeOptions says what Merge writes besides the images. The zero value adds nothing.
type MergeOptions struct {
	// IndexAnnotations go into the index ("index:" of buildx's --annotation).
	IndexAnnotations map[string]string
	// DescriptorAnnotations go onto the index's own descriptor, which shows in an OCI layout's index.json
	// ("index-descriptor:").
	DescriptorAnnotations map[string]string
	// ManifestAnnotations go onto the images' descriptors in the index ("manifest-descriptor:"), over those that are there.
	// The zero Platform stands for all; what is given for a platform by name goes over it.
	ManifestAnnotations map[platforms.Platform]map[string]string
	// ForceIndex writes an index even for one image without attestations.
	ForceIndex bool
	// OCI writes an OCI index even if all images are of docker's media types.
	OCI bool
}

// Index is the one result of a build: an index, or a single manifest where an index would add nothing.
type Index struct {
	// Descriptor describes Raw. Of a single manifest it has the platform.
	Descriptor ocispec.Descriptor
	// Raw are the bytes to push. Nil for a single manifest of which only the descriptor is known.
	Raw []byte
	// Images are in the order asked for.
	Images []Image
	// Referrer is what Push, WriteLayout and WriteArchive tell of it beside it. Nil: nothing.
	Referrer *Referrer
}

// Merge makes one index of images, which may come in any order and from any node: the same images give the same bytes. The
// images stand in the order of want, but of one architecture the plain variants first (platforms.PlainFirst), then their attestations in the
// same order, and the JSON is BuildKit's, so that merging the images of one solve gives that solve's digest. One image without attestations is its own result, as docker buildx
// pushes it, unless opts.ForceIndex. The index is a docker manifest list if all in it are of docker's media types.
//
// Merge refuses a platform that is missing, not wanted, or there twice, two platforms with the same image, and
// descriptors that contradict their Image.
func Merge(want []platforms.Platform, images []Image, opts MergeOptions) (Index, error) {
	ordered, err := arrange(want, images)
	if err != nil {
		return Index{}, fmt.Errorf("merging images: %w", err)
	}
	for p := range opts.ManifestAnnotations {
		if p != (platforms.Platform{}) && !slices.Contains(want, p) {
			return Index{}, hintf(fmt.Errorf("merging images: annotation for %s, which is not built", p), "the platforms are %s", list(want))
		}
	}
	for i := range ordered {
		ordered[i].Manifest = describe(ordered[i], opts)
	}
	if len(ordered) == 1 && len(ordered[0].Attestations) == 0 && !opts.ForceIndex {
		return sole(ordered[0], opts)
	}
	return assemble(ordered, opts)
}

// arrange puts images into the order of want, and checks that they are what was wanted.
func arrange(want []platforms.Platform, images []Image) ([]Image, error) {
	if len(want) == 0 {
		return nil, errors.New("no platform is wanted")
	}
	byPlatform := map[platforms.Platform]Image{}
	byDigest := map[digest.Digest]platforms.Platform{}
	// In the order of want, so that of several faults always the same one is reported.
	sorted := slices.Clone(images)
	slices.SortStableFunc(sorted, func(a, b Image) int {
		return cmp.Or(
			cmp.Compare(slices.Index(want, a.Platform), slices.Index(want, b.Platform)),
			platforms.Compare(a.Platform, b.Platform),
			cmp.Compare(a.Manifest.Digest, b.Manifest.Digest),
		)
	})
	for _, image := range sorted {
		if err := validate(image); err != nil {
			return nil, fmt.Errorf("%s: %w", image.Platform, err)
		}
		if !slices.Contains(want, image.Platform) {
			return nil, hintf(fmt.Errorf("an image for %s is there, which was not asked for", image.Platform), "asked for were %s", list(want))
		}
		if _, ok := byPlatform[image.Platform]; ok {
			return nil, fmt.Errorf("two images for %s are there", image.Platform)
		}
		byPlatform[image.Platform] = image
	}
	ordered := make([]Image, 0, len(want))
	for _, p := range want {
		image, ok := byPlatform[p]
		if !ok {
			return nil, hintf(fmt.Errorf("no image for %s", p), "there are images for %s", list(slices.Collect(platformsOf(sorted))))
		}
		if other, ok := byDigest[image.Manifest.Digest]; ok {
			if other == p {
				return nil, hintf(fmt.Errorf("%s is wanted twice", p), "name each platform once")
			}
			return nil, hintf(fmt.Errorf("%s and %s have the same image %s", other, p, image.Manifest.Digest),
				"an image is for one platform; does the Dockerfile fix the platform of its last stage (FROM --platform)?")
		}
		byDigest[image.Manifest.Digest] = p
		ordered = append(ordered, image)
	}
	return ordered, nil
}

func platformsOf(images []Image) func(yield func(platforms.Platform) bool) {
	return func(yield func(platforms.Platform) bool) {
		for _, image := range images {
			if !yield(image.Platform) {
				return
			}
		}
	}
}

func list(ps []platforms.Platform) string {
	if len(ps) == 0 {
		return "no platform"
	}
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}

// validate checks that an Image does not contradict itself.
func validate(image Image) error {
	m := image.Manifest
	if err := m.Digest.Validate(); err != nil {
		return fmt.Errorf("manifest digest %q: %w", m.Digest, err)
	}
	if !isImageType(m.MediaType) {
		return fmt.Errorf("manifest %s is no image but %q", m.Digest, m.MediaType)
	}
	if m.Size <= 0 {
		return fmt.Errorf("manifest %s has no size", m.Digest)
	}
	if m.Platform != nil {
		if says := platforms.FromOCI(*m.Platform); says != image.Platform {
			return fmt.Errorf("manifest %s is for %s", m.Digest, says)
		}
	}
	for _, a := range image.Attestations {
		if err := a.Digest.Validate(); err != nil {
			return fmt.Errorf("attestation digest %q: %w", a.Digest, err)
		}
		if !isAttestation(a) || a.Annotations[referenceDigest] != m.Digest.String() {
			return fmt.Errorf("attestation %s is not of image %s but of %q", a.Digest, m.Digest, a.Annotations[referenceDigest])
		}
	}
	return nil
}

// describe returns the image's descriptor as the index shows it.
func describe(image Image, opts MergeOptions) ocispec.Descriptor {
	desc := cloneDescriptor(image.Manifest)
	p := image.Platform.OCI()
	if desc.Platform != nil {
		p.OSVersion, p.OSFeatures = desc.Platform.OSVersion, desc.Platform.OSFeatures
	}
	desc.Platform = &p
	for _, key := range []platforms.Platform{{}, image.Platform} {
		if len(opts.ManifestAnnotations[key]) > 0 && desc.Annotations == nil {
			desc.Annotations = map[string]string{}
		}
		maps.Copy(desc.Annotations, opts.ManifestAnnotations[key])
	}
	return desc
}

func sole(image Image, opts MergeOptions) (Index, error) {
	if len(opts.IndexAnnotations)+len(opts.DescriptorAnnotations) > 0 {
		return Index{}, hintf(errors.New("merging images: annotations for an index, but one image without attestations has none"),
			"annotate the manifest instead (manifest:KEY=VALUE), or build for several platforms")
	}
	return Index{Descriptor: image.Manifest, Raw: image.Raw, Images: []Image{image}}, nil
}

func assemble(images []Image, opts MergeOptions) (Index, error) {
	index := ocispec.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageIndex,
		Annotations: opts.IndexAnnotations,
	}
	entries := platforms.PlainFirst(images, func(i Image) platforms.Platform { return i.Platform })
	for _, image := range entries {
		index.Manifests = append(index.Manifests, image.Manifest)
	}
	for _, image := range entries {
		index.Manifests = append(index.Manifests, image.Attestations...)
	}
	if !opts.OCI && !slices.ContainsFunc(index.Manifests, func(d ocispec.Descriptor) bool { return d.MediaType != dockerManifest }) {
		index.MediaType = dockerList
		if annotated(index) || len(opts.DescriptorAnnotations) > 0 {
			return Index{}, hintf(errors.New("merging images: docker's media types have no annotations"),
				"leave oci-mediatypes=false out, or the annotations")
		}
	}
	raw, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return Index{}, fmt.Errorf("merging images: %w", err)
	}
	return Index{
		Descriptor: ocispec.Descriptor{
			MediaType: index.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
			Annotations: maps.Clone(opts.DescriptorAnnotations),
		},
		Raw: raw, Images: images,
	}, nil
}

// annotated reports annotations other than those by which BuildKit ties attestations to their images.
func annotated(index ocispec.Index) bool {
	return len(index.Annotations) > 0 || slices.ContainsFunc(index.Manifests, func(d ocispec.Descriptor) bool {
		return !isAttestation(d) && len(d.Annotations) > 0
	})
}
