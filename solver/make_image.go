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

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// blob is one that an image consists of.
type blob struct {
	ocispec.Descriptor
	// text is what is in it. Nil: the solver has it.
	text []byte
}

// layerList are those of an image, with the digests of what is in them.
type layerList struct {
	Layers  []ocispec.Descriptor
	DiffIDs []digest.Digest
}

// plain is an image of the layers and nothing else. Manifest and config that a solver makes tell when a step was done, and in which words;
// these change only with the layers.
func (l layerList) plain() ([]blob, ocispec.Descriptor, error) {
	config := ocispec.Image{
		// Nobody looks at the platform of an image that is no part of an index.
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: l.DiffIDs},
	}
	configBlob, err := newBlob(ocispec.MediaTypeImageConfig, config)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: configBlob.Descriptor, Layers: l.Layers,
	}
	manifestBlob, err := newBlob(ocispec.MediaTypeImageManifest, manifest)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	out := []blob{manifestBlob, configBlob}
	for _, desc := range l.Layers {
		out = append(out, blob{Descriptor: desc})
	}
	return out, manifestBlob.Descriptor, nil
}

func newBlob(mediaType string, v any) (blob, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return blob{}, fmt.Errorf("writing %s: %w", mediaType, err)
	}
	return blob{ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}, text}, nil
}

// read finds the layers of what was exported, and the materials in its provenance, if it has one.
func (h *hold) read(answer *client.SolveResponse) (layerList, []Material, error) {
	exported, err := result("", answer)
	if err != nil {
		return layerList{}, nil, err
	}
	manifest, materials := exported.Index, []Material(nil)
	if manifest.MediaType == ocispec.MediaTypeImageIndex {
		if manifest, materials, err = h.readIndex(manifest); err != nil {
			return layerList{}, nil, err
		}
	}
	var m ocispec.Manifest
	if err := h.parse(manifest, &m); err != nil {
		return layerList{}, nil, err
	}
	var config ocispec.Image
	var group errgroup.Group
	group.Go(func() error { return h.parse(m.Config, &config) })
	group.Go(func() error { return h.fetch(m.Layers) })
	if err := group.Wait(); err != nil {
		return layerList{}, nil, err
	}
	if len(m.Layers) != len(config.RootFS.DiffIDs) {
		return layerList{}, nil, fmt.Errorf("reading the part that was made: it has %d layers and %d digests of them", len(m.Layers), len(config.RootFS.DiffIDs))
	}
	out := layerList{DiffIDs: config.RootFS.DiffIDs}
	for _, l := range m.Layers {
		// Where a layer came from is told in its annotations.
		out.Layers = append(out.Layers, ocispec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
	}
	return out, materials, nil
}

// fetch has the solver fetch what it lacks of layers. Those of a base image it may have needed so little that it knows only of them; whom they
// come from may be gone when others want them.
func (h *hold) fetch(list []ocispec.Descriptor) error {
	store := proxy.NewContentStore(h.client.bk.ContentClient())
	group, ctx := errgroup.WithContext(h.during)
	for _, l := range list {
		group.Go(func() error {
			_, err := store.Info(ctx, l.Digest)
			return err
		})
	}
	err := group.Wait()
	if errdefs.IsNotFound(err) && h.ref != nil {
		// To look at a file, the layers have to be there.
		_, err = h.ref.StatFile(h.during, gateway.StatRequest{Path: "."})
	}
	if err != nil {
		return h.reason(h.client.explain(h.during, err, h.solve))
	}
	return nil
}

// readIndex finds the image in an index that has it and its attestations.
func (h *hold) readIndex(desc ocispec.Descriptor) (image ocispec.Descriptor, materials []Material, err error) {
	var index ocispec.Index
	if err := h.parse(desc, &index); err != nil {
		return image, nil, err
	}
	// https://github.com/moby/buildkit/blob/v0.33.1/docs/attestations/attestation-storage.md
	for _, d := range index.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			image = d
			continue
		}
		var m ocispec.Manifest
		if err := h.parse(d, &m); err != nil {
			return image, nil, err
		}
		for _, l := range m.Layers {
			if !strings.HasPrefix(l.Annotations["in-toto.io/predicate-type"], "https://slsa.dev/provenance/") {
				continue
			}
			var s statement
			if err := h.parse(l, &s); err != nil {
				return image, nil, err
			}
			materials = append(materials, s.materials()...)
		}
	}
	return image, materials, nil
}

// statement is what names the sources in a statement of SLSA v1, and in one of v0.2.
type statement struct {
	Predicate struct {
		BuildDefinition struct {
			ResolvedDependencies []Material `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		Materials []Material `json:"materials"`
	} `json:"predicate"`
}

// materials are those that are no parts of this build themselves.
func (s statement) materials() []Material {
	var out []Material
	for _, m := range append(s.Predicate.BuildDefinition.ResolvedDependencies, s.Predicate.Materials...) {
		if !strings.HasPrefix(m.URI, "pkg:oci/"+importName) {
			out = append(out, m)
		}
	}
	return out
}

// parse reads a blob that the solver holds.
func (h *hold) parse(desc ocispec.Descriptor, v any) error {
	text, err := h.client.blob(h.during, desc)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return h.reason(h.client.explain(h.during, fmt.Errorf("reading the part that was made: %w", err), h.solve))
	}
	return nil
}

// maxMetadata is more than any manifest, config or provenance has, in bytes.
const maxMetadata = 64 << 20

// blob reads a small blob at once, and verifies it.
func (c *Client) blob(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > maxMetadata {
		return nil, fmt.Errorf("%s has %d bytes", desc.Digest, desc.Size)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.bk.ContentClient().Read(ctx, &contentapi.ReadContentRequest{Digest: desc.Digest.String()})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for {
		message, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			if digest.FromBytes(out.Bytes()) != desc.Digest {
				return nil, fmt.Errorf("the solver gave other bytes than %s", desc.Digest)
			}
			return out.Bytes(), nil
		case err != nil:
			return nil, err
		case int64(out.Len()+len(message.Data)) > desc.Size:
			return nil, fmt.Errorf("the solver gave more bytes than %s has", desc.Digest)
		}
		out.Write(message.Data)
	}
}
