// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/platforms"
)

// DefaultImage is where emulators come from if nothing else is asked for: static builds of QEMU 10.2.3 with few patches, for
// amd64, arm64, ppc64le, riscv64 and s390x machines. The digest holds it to what was published under the tag.
// Source: https://github.com/tonistiigi/binfmt
const DefaultImage = "docker.io/tonistiigi/binfmt:qemu-v10.2.3-68@sha256:400a4873b838d1b89194d982c45e5fb3cda4593fbfd7e08a02e76b03b21166f0"

const (
	layoutScheme  = "oci-layout://"
	archiveScheme = "oci-archive://"

	maxDocument = 4 << 20 // what the distribution specification lets registries limit manifests to
	maxNesting  = 3       // indexes in indexes
)

// ImageError is an image that gives no emulators: it cannot be read, is damaged, or holds something else.
type ImageError struct {
	// Image is what the user asked for.
	Image string
	Err   error
	hint  string
}

// Error names the image.
func (e *ImageError) Error() string {
	return fmt.Sprintf("taking emulators out of %q: %v", e.Image, e.Err)
}

// Unwrap returns the cause.
func (e *ImageError) Unwrap() error { return e.Err }

// Hint says what to do about it; "" if nothing is known to help.
func (e *ImageError) Hint() string { return e.hint }

// imageSource is where the parts of an image are: a registry, a layout's directory, a layout's tar.
type imageSource interface {
	// root returns the document that the user's name stands for.
	root(ctx context.Context) (ocispec.Descriptor, []byte, error)
	// blob opens what a descriptor names; the caller verifies and closes it.
	blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
	// document reads a manifest or an index; the caller verifies it.
	document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)
}

// image is one platform's manifest of a source.
type image struct {
	imageSource
	digest digest.Digest
	layers []ocispec.Descriptor
}

// openImage reads no more than manifests. The caller closes the source.
func openImage(ctx context.Context, name string, host platforms.Platform) (*image, func() error, error) {
	source, closer, err := openSource(name)
	if err != nil {
		return nil, nil, err
	}
	desc, raw, err := source.root(ctx)
	if err == nil {
		var found *image
		if found, err = resolve(ctx, source, document{desc, raw}, host); err == nil {
			return found, closer, nil
		}
	}
	return nil, nil, errors.Join(err, closer())
}

func openSource(name string) (imageSource, func() error, error) {
	if dir, ok := strings.CutPrefix(name, layoutScheme); ok {
		return openLayout(dir)
	}
	if file, ok := strings.CutPrefix(name, archiveScheme); ok {
		return openArchive(file)
	}
	source, err := newRegistrySource(name)
	return source, func() error { return nil }, err
}

type document struct {
	desc ocispec.Descriptor
	raw  []byte
}

// body has what is asked of manifests and indexes. Docker's forms of both have it too.
type body struct {
	Manifests []ocispec.Descriptor `json:"manifests"`
	Layers    []ocispec.Descriptor `json:"layers"`
}

func resolve(ctx context.Context, source imageSource, doc document, host platforms.Platform) (*image, error) {
	for range maxNesting {
		if err := verifyDocument(doc); err != nil {
			return nil, err
		}
		var b body
		if err := json.Unmarshal(doc.raw, &b); err != nil {
			return nil, fmt.Errorf("reading manifest %s: %w", doc.desc.Digest, err)
		}
		if len(b.Manifests) == 0 {
			return newImage(source, doc.desc.Digest, b.Layers)
		}
		next, err := choose(b.Manifests, host)
		if err != nil {
			return nil, err
		}
		raw, err := source.document(ctx, next)
		if err != nil {
			return nil, fmt.Errorf("reading manifest %s: %w", next.Digest, err)
		}
		doc = document{next, raw}
	}
	return nil, fmt.Errorf("more than %d indexes in each other", maxNesting)
}

func newImage(source imageSource, id digest.Digest, layers []ocispec.Descriptor) (*image, error) {
	if len(layers) == 0 {
		return nil, fmt.Errorf("manifest %s has no layers", id)
	}
	for _, l := range layers {
		if err := l.Digest.Validate(); err != nil || l.Size < 0 {
			return nil, fmt.Errorf("manifest %s has a layer of digest %q and size %d", id, l.Digest, l.Size)
		}
	}
	return &image{source, id, layers}, nil
}

func verifyDocument(doc document) error {
	if err := doc.desc.Digest.Validate(); err != nil {
		return fmt.Errorf("reading a manifest: digest %q: %w", doc.desc.Digest, err)
	}
	if got := doc.desc.Digest.Algorithm().FromBytes(doc.raw); got != doc.desc.Digest {
		return fmt.Errorf("manifest %s is damaged: its digest is %s", doc.desc.Digest, got)
	}
	return nil
}

// choose picks the manifest of the platform that this machine runs. Without any platform there must be one manifest, under however
// many names.
func choose(list []ocispec.Descriptor, host platforms.Platform) (ocispec.Descriptor, error) {
	var offered []platforms.Platform
	var names []string
	several := false
	for _, d := range list {
		several = several || d.Digest != list[0].Digest
		if d.Platform == nil {
			continue
		}
		p := platforms.FromOCI(*d.Platform)
		offered = append(offered, p)
		if p.Architecture != "unknown" && !slices.Contains(names, p.String()) {
			names = append(names, p.String())
		}
	}
	if len(offered) == 0 && !several {
		return list[0], nil
	}
	best, ok := host.Closest(offered)
	if !ok {
		return ocispec.Descriptor{}, fmt.Errorf("it is not for %s machines but for: %s", host, strings.Join(names, ", "))
	}
	at := slices.IndexFunc(list, func(d ocispec.Descriptor) bool {
		return d.Platform != nil && platforms.FromOCI(*d.Platform) == best
	})
	return list[at], nil
}

// readDocument reads no more than a manifest may have.
func readDocument(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("it is larger than %d bytes", maxDocument)
	}
	return raw, err
}
