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

// Docker's own media types, still written on request (oci-mediatypes=false).
// Source: https://github.com/distribution/distribution/blob/v3.0.0/docs/content/spec/manifest-v2-2.md#media-types
const (
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// How BuildKit marks the attestations of an image in its index.
// Source: https://github.com/moby/buildkit/blob/v0.33.1/docs/attestations/attestation-storage.md
const (
	referenceType   = "vnd.docker.reference.type"
	referenceDigest = "vnd.docker.reference.digest"
	attestationType = "attestation-manifest"
)

// configDigestKey is an annotation by which BuildKit's exporter tells its caller the config of a single image.
const configDigestKey = "config.digest"

// Image is what was built for one platform.
type Image struct {
	Platform     platforms.Platform
	Manifest     ocispec.Descriptor   // with the annotations it has in the index, if any
	Config       ocispec.Descriptor   // zero until known: Check fills it, and Split where it sees the manifest
	Attestations []ocispec.Descriptor // attestation manifests of this image, as BuildKit described them
	Raw          []byte               // the manifest's bytes; nil until known, as Config
}

func isImageType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == dockerManifest
}

func isIndexType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerList
}

// Split takes the result of one solve apart. root describes it, raw are its bytes, checked against root: an index, whose
// images come out in its order, each with the attestations that name it; or one manifest. A manifest's platform is that of
// root, else of config (the bytes of the manifest's config, otherwise unused). raw may be nil for a manifest whose root has a
// platform; Raw and Config of the Image are then not known.
func Split(root ocispec.Descriptor, raw, config []byte) ([]Image, error) {
	if err := root.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("splitting %q: %w", root.Digest, err)
	}
	if raw != nil {
		if err := verifyBytes("the solve", raw, root); err != nil {
			return nil, fmt.Errorf("splitting %s: %w", root.Digest, err)
		}
	}
	var images []Image
	var err error
	switch {
	case isImageType(root.MediaType):
		var image Image
		image, err = soleImage(root, raw, config)
		images = []Image{image}
	case !isIndexType(root.MediaType):
		err = fmt.Errorf("%q is neither an index nor an image", root.MediaType)
	default:
		images, err = splitIndex(root, raw)
	}
	if err != nil {
		return nil, fmt.Errorf("splitting %s: %w", root.Digest, err)
	}
	return images, nil
}

// ReadImages reads the result of one solve from where it was pushed or exported to, and splits it.
func ReadImages(ctx context.Context, from Blobs, root ocispec.Descriptor) ([]Image, error) {
	raw, err := ReadBlob(ctx, from, root)
	if err != nil {
		return nil, err
	}
	var config []byte
	if isImageType(root.MediaType) && root.Platform == nil {
		var m ocispec.Manifest
		if err := parse(raw, root.MediaType, &m, &m.MediaType); err != nil {
			return nil, fmt.Errorf("splitting %s: %w", root.Digest, err)
		}
		if config, err = ReadBlob(ctx, from, m.Config); err != nil {
			return nil, err
		}
	}
	return Split(root, raw, config)
}

func soleImage(root ocispec.Descriptor, raw, config []byte) (Image, error) {
	image := Image{Manifest: cloneDescriptor(root), Raw: raw}
	// Both are notes of the exporter to its caller, and the second is the time of day: in an index it would change the digest
	// with every build.
	delete(image.Manifest.Annotations, configDigestKey)
	delete(image.Manifest.Annotations, ocispec.AnnotationCreated)
	if raw != nil {
		var m ocispec.Manifest
		if err := parse(raw, root.MediaType, &m, &m.MediaType); err != nil {
			return Image{}, err
		}
		image.Config = m.Config
	}
	if root.Platform != nil {
		image.Platform = platforms.FromOCI(*root.Platform)
		return image, nil
	}
	var err error
	image.Platform, err = configPlatform(config)
	return image, err
}

func splitIndex(root ocispec.Descriptor, raw []byte) ([]Image, error) {
	var index ocispec.Index
	if err := parse(raw, root.MediaType, &index, &index.MediaType); err != nil {
		return nil, err
	}
	var images []Image
	at := map[digest.Digest]int{}
	for _, desc := range index.Manifests {
		if isAttestation(desc) {
			continue
		}
		if !isImageType(desc.MediaType) {
			return nil, fmt.Errorf("%s is no image but %q", desc.Digest, desc.MediaType)
		}
		if desc.Platform == nil {
			return nil, fmt.Errorf("image %s has no platform", desc.Digest)
		}
		at[desc.Digest] = len(images)
		images = append(images, Image{Platform: platforms.FromOCI(*desc.Platform), Manifest: cloneDescriptor(desc)})
	}
	for _, desc := range index.Manifests {
		if !isAttestation(desc) {
			continue
		}
		i, ok := at[digest.Digest(desc.Annotations[referenceDigest])]
		if !ok {
			return nil, fmt.Errorf("attestation %s is of image %q, which is not in the index", desc.Digest, desc.Annotations[referenceDigest])
		}
		images[i].Attestations = append(images[i].Attestations, cloneDescriptor(desc))
	}
	if len(images) == 0 {
		return nil, errors.New("the index holds no image")
	}
	return images, nil
}

func isAttestation(desc ocispec.Descriptor) bool {
	return desc.Annotations[referenceType] == attestationType
}

// parse reads a manifest or index and refuses one that says of itself to be something else than its descriptor says, since
// readers would then disagree about what it holds (CVE-2021-41190).
func parse(raw []byte, mediaType string, into any, says *string) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading %q: %w", mediaType, err)
	}
	if *says != "" && *says != mediaType {
		return fmt.Errorf("described as %q it says to be %q", mediaType, *says)
	}
	return nil
}

// configPlatform returns the platform an image's config names.
func configPlatform(raw []byte) (platforms.Platform, error) {
	var config ocispec.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return platforms.Platform{}, fmt.Errorf("reading config: %w", err)
	}
	if config.OS == "" || config.Architecture == "" {
		return platforms.Platform{}, errors.New("reading config: it names no platform")
	}
	return platforms.FromOCI(config.Platform), nil
}

func cloneDescriptor(desc ocispec.Descriptor) ocispec.Descriptor {
	desc.Annotations = maps.Clone(desc.Annotations)
	desc.URLs = slices.Clone(desc.URLs)
	desc.Data = slices.Clone(desc.Data)
	if desc.Platform != nil {
		p := *desc.Platform
		p.OSFeatures = slices.Clone(p.OSFeatures)
		desc.Platform = &p
	}
	return desc
}
