// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mab-build/mab/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Origins are blobs of several places, each opened where it was found first.
type Origins struct {
	places []Blobs
	at     map[digest.Digest]Blobs
}

var _ Blobs = (*Origins)(nil)

// Open opens the blob where it was found. What nobody has told of is looked for everywhere.
func (o *Origins) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if place, ok := o.at[desc.Digest]; ok {
		return place.Open(ctx, desc)
	}
	failure := fmt.Errorf("blob %s is in none of the sources", desc.Digest)
	for _, place := range o.places {
		rc, err := place.Open(ctx, desc)
		if err == nil {
			return rc, nil
		}
		failure = err
	}
	return nil, failure
}

// String names all places, for messages.
func (o *Origins) String() string {
	var names []string
	for _, place := range o.places {
		if named, ok := place.(fmt.Stringer); ok && !slices.Contains(names, named.String()) {
			names = append(names, named.String())
		}
	}
	return strings.Join(names, " or ")
}

func (o *Origins) add(dgst digest.Digest, place Blobs) {
	if _, ok := o.at[dgst]; !ok {
		o.at[dgst] = place
	}
}

// repository returns the repository that has a blob, if it is in one.
func repository(from Blobs, dgst digest.Digest) (Reference, bool) {
	if w, ok := from.(*watched); ok {
		from = w.Blobs
	}
	if origins, ok := from.(*Origins); ok {
		from = origins.at[dgst]
	}
	repo, ok := from.(*Repository)
	if !ok {
		return Reference{}, false
	}
	return Reference{Registry: repo.ref.Registry, Repository: repo.ref.Repository}, true
}

// Gather reads what an index is to be made of. A source is what Fetch takes, or the digest of what is in the repository of one of
// targets (sha256:… or @sha256:…), or a descriptor in JSON, of what is there. All manifests and configs are read and verified,
// several at once; layers are not. It refuses an image whose config contradicts its descriptor (Refusal). Origins is where all of it is read
// from.
func (c *Client) Gather(ctx context.Context, sources []string, targets []Reference) ([]Part, *Origins, error) {
	repos, _ := group(targets)
	parts := make([]Part, len(sources))
	places := make([]Blobs, len(sources))
	faults := make([]error, len(sources))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, source := range sources {
		g.Go(func() error {
			if parts[i], places[i], faults[i] = c.part(ctx, source, repos); faults[i] == nil {
				faults[i] = parts[i].read(ctx, places[i])
			}
			return nil
		})
	}
	_ = g.Wait() // the faults are in faults, all of them
	if err := errors.Join(faults...); err != nil {
		return nil, nil, err
	}
	origins := &Origins{places: places, at: map[digest.Digest]Blobs{}}
	for i := range parts {
		if err := parts[i].locate(ctx, origins, places[i]); err != nil {
			return nil, nil, err
		}
	}
	return parts, origins, nil
}

// part finds one source.
func (c *Client) part(ctx context.Context, source string, repos []Reference) (Part, Blobs, error) {
	desc, ok, err := descriptorSource(source)
	if err != nil {
		return Part{}, nil, err
	}
	if !ok {
		f, err := c.find(ctx, source)
		return Part{Name: f.name, Root: f.root.desc, Raw: f.root.raw}, f.from, err
	}
	if len(repos) == 0 {
		return Part{}, nil, misspelt{hintf(fmt.Errorf("reading %s: no repository is named that it could be in", desc.Digest),
			"write REPOSITORY@%s, or name what is to be written: -t REFERENCE", desc.Digest)}
	}
	var f found
	for _, repo := range repos {
		repo.Digest = desc.Digest
		if f, err = c.find(ctx, repo.String()); err == nil || !IsMissing(err) {
			break
		}
	}
	if err != nil {
		return Part{}, nil, err
	}
	root := f.root.desc
	if desc.MediaType != "" {
		if desc.Size != root.Size || desc.MediaType != root.MediaType {
			return Part{}, nil, Refusal{fmt.Errorf("reading %q: it is %s of %d bytes, its descriptor says %s of %d bytes", f.name,
				root.MediaType, root.Size, desc.MediaType, desc.Size)}
		}
		root = desc
	}
	return Part{Name: f.name, Root: root, Raw: f.root.raw}, f.from, nil
}

// descriptorSource reads a source that is a descriptor, or a digest alone: then the descriptor has nothing else.
func descriptorSource(source string) (ocispec.Descriptor, bool, error) {
	var desc ocispec.Descriptor
	if strings.HasPrefix(source, "{") {
		decoder := json.NewDecoder(bytes.NewReader([]byte(source)))
		if err := decoder.Decode(&desc); err != nil || desc.Digest.Validate() != nil || desc.MediaType == "" {
			return desc, false, misspelt{hintf(fmt.Errorf("reading %q: it is no descriptor", source),
				`a descriptor is {"mediaType": …, "digest": "sha256:…", "size": …}`)}
		}
		// What the exporter tells its caller is nothing of the image's.
		delete(desc.Annotations, configDigestKey)
		delete(desc.Annotations, ocispec.AnnotationCreated)
		return desc, true, nil
	}
	dgst, err := digest.Parse(strings.TrimPrefix(source, "@"))
	desc.Digest = dgst
	return desc, err == nil, nil
}

// read fills in the images, and checks each.
func (p *Part) read(ctx context.Context, from Blobs) error {
	if err := p.list(); err != nil {
		return fmt.Errorf("reading %q: %w", p.Name, err)
	}
	faults := make([]error, len(p.Images))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i := range p.Images {
		g.Go(func() error {
			if err := examine(ctx, from, &p.Images[i]); err != nil {
				faults[i] = fmt.Errorf("reading %q: %w", p.Name, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the faults are in faults, all of them
	return errors.Join(faults...)
}

func (p *Part) list() error {
	images, others, err := Entries(p.Root, p.Raw)
	if err != nil {
		return err
	}
	for _, desc := range others {
		if !isAttestation(desc) {
			return hintf(fmt.Errorf("%s in it is no image but %q", desc.Digest, desc.MediaType), "name its images one by one")
		}
	}
	p.Images, p.Orphans = images, others
	return nil
}

// examine verifies an image's manifest and config, and that they agree on the platform; it fills in what the descriptor does not
// tell.
func examine(ctx context.Context, from Blobs, image *Image) error {
	m, err := imageManifest(ctx, from, image)
	if err != nil {
		return err
	}
	if !isConfigType(m.Config.MediaType) {
		return Refusal{fmt.Errorf("%s is no image: its config is %q", image.Manifest.Digest, m.Config.MediaType)}
	}
	raw, err := ReadBlob(ctx, from, m.Config)
	if err != nil {
		return fmt.Errorf("config of %s: %w", image.Manifest.Digest, err)
	}
	got, err := configPlatform(raw)
	if err != nil {
		return Refusal{fmt.Errorf("config of %s: %w", image.Manifest.Digest, err)}
	}
	if got.OS == "unknown" || image.Platform.OS == "unknown" {
		return Refusal{hintf(fmt.Errorf("%s is for no platform", image.Manifest.Digest), "if it is an attestation, name the index that it is in")}
	}
	image.Config = m.Config
	if image.Platform == (platforms.Platform{}) {
		var config ocispec.Image
		if err := json.Unmarshal(raw, &config); err != nil {
			return fmt.Errorf("config of %s: %w", image.Manifest.Digest, err)
		}
		image.Platform, image.Manifest.Platform = got, &config.Platform
		return nil
	}
	if !image.Platform.Covers(got) {
		return Refusal{hintf(fmt.Errorf("%s is described as %s, but its config says %s", image.Manifest.Digest, image.Platform, got),
			"machines of %s would get an image that they cannot run; build it anew, and look for --platform in the FROM of its last stage", image.Platform)}
	}
	return nil
}

func imageManifest(ctx context.Context, from Blobs, image *Image) (ocispec.Manifest, error) {
	if image.Raw == nil {
		var err error
		if image.Raw, err = ReadBlob(ctx, from, image.Manifest); err != nil {
			return ocispec.Manifest{}, err
		}
	}
	return readManifest(ctx, from, image.Manifest, image.Raw)
}

// locate tells origins what is in the part, and makes sure that its attestations are there.
func (p *Part) locate(ctx context.Context, origins *Origins, from Blobs) error {
	origins.add(p.Root.Digest, from)
	note := func(desc ocispec.Descriptor, m ocispec.Manifest) {
		for _, d := range append([]ocispec.Descriptor{desc, m.Config}, m.Layers...) {
			origins.add(d.Digest, from)
		}
	}
	for i := range p.Images {
		m, err := imageManifest(ctx, from, &p.Images[i])
		if err != nil {
			return fmt.Errorf("reading %q: %w", p.Name, err)
		}
		note(p.Images[i].Manifest, m)
		for _, desc := range p.Images[i].Attestations {
			m, err := readManifest(ctx, from, desc, nil)
			if err != nil {
				return fmt.Errorf("reading %q: attestation of %s: %w", p.Name, p.Images[i].Platform, err)
			}
			note(desc, m)
		}
	}
	return nil
}
