// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Push writes idx to every reference, the references last: what idx reaches is there first, in every repository. from holds
// what idx reaches, and what a repository lacks of it is uploaded; nil says that all of it is already in each repository
// (BuildKit pushed it by digest), and nothing is asked or sent but the index. References without a tag are written by digest.
//
// With one reference the index costs one request (anonymous to a loopback registry; else a handshake precedes it). With
// several, each repository first gets the index by digest, so that a repository which refuses it leaves no tag anywhere; then
// the tags are written. A tag that already names idx is written again, since asking would cost as much.
//
// The Referrer of idx, if it has one, is in each repository before the tags are. A registry that refuses it gets the tags all the same, and
// then the error is a *ReferrerError. In a registry without the referrers API it is listed under a tag, as the specification has it; a
// registry that lists it already is only asked.
//
// The registry's digest is compared with idx's (*DigestError). Passing faults are tried again. Errors name the reference and
// have a Hint where there is one; if some tags were written before others failed or ctx was cancelled, the error says which.
func (c *Client) Push(ctx context.Context, idx Index, refs []Reference, from Blobs) (ocispec.Descriptor, error) {
	return c.push(ctx, idx, refs, from, nil)
}

// push is Push; it writes no tag if one of them names something else than was says.
func (c *Client) push(ctx context.Context, idx Index, refs []Reference, from Blobs, was Heads) (ocispec.Descriptor, error) {
	if len(refs) == 0 {
		return ocispec.Descriptor{}, errors.New("pushing: no reference is given")
	}
	for _, ref := range refs {
		if err := ref.writable(); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	all, err := c.gather(ctx, idx, refs[0], from)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	repos, tags := group(refs)
	byDigest := len(refs) > 1 || len(tags) == 0
	if from != nil || byDigest {
		err := each(ctx, repos, func(ctx context.Context, repo Reference) error {
			return c.prepare(ctx, repo, all, from, byDigest)
		})
		if err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	refused, err := c.refer(ctx, repos, idx.Referrer)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := c.unmoved(ctx, tags, was); err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := c.tag(ctx, tags, all.root); err != nil {
		return ocispec.Descriptor{}, err
	}
	if refused != nil {
		return idx.Descriptor, refused
	}
	return idx.Descriptor, nil
}

// gather reads what has to be sent.
func (c *Client) gather(ctx context.Context, idx Index, first Reference, from Blobs) (contents, error) {
	if from != nil {
		return reach(ctx, idx, from)
	}
	root := document{idx.Descriptor, idx.Raw}
	if root.raw != nil {
		return contents{root: root}, nil
	}
	raw, err := ReadBlob(ctx, c.Repository(first), idx.Descriptor)
	if err != nil {
		return contents{}, err
	}
	root.raw = raw
	return contents{root: root}, nil
}

// group lists the repositories of refs, and the references with a tag, each once, in the order of refs.
func group(refs []Reference) (repos, tags []Reference) {
	for _, ref := range refs {
		repo := Reference{Registry: ref.Registry, Repository: ref.Repository}
		if !slices.Contains(repos, repo) {
			repos = append(repos, repo)
		}
		if ref.Tag != "" && !slices.Contains(tags, ref) {
			tags = append(tags, ref)
		}
	}
	return repos, tags
}

// each runs do for every item, a few at once, and stops at the first failure.
func each[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, item := range items {
		g.Go(func() error { return do(ctx, item) })
	}
	return g.Wait()
}

// prepare brings into a repository all that the tags will need.
func (c *Client) prepare(ctx context.Context, repo Reference, all contents, from Blobs, byDigest bool) error {
	lacking := all.beyond(repo, from)
	s, err := c.mounting(repo, lacking.origins(repo, from))
	if err != nil {
		return err
	}
	if from != nil {
		if err := s.upload(ctx, lacking.blobs, from); err != nil {
			return explain("pushing layers to", repo, err)
		}
		err := each(ctx, lacking.manifests, func(ctx context.Context, m document) error {
			return s.put(ctx, m.desc.Digest.String(), m)
		})
		if err != nil {
			return explain("pushing images to", repo, err)
		}
	}
	if byDigest {
		if err := s.put(ctx, all.root.desc.Digest.String(), all.root); err != nil {
			return explain("pushing", repo, err)
		}
	}
	return nil
}

func (s *session) upload(ctx context.Context, blobs []ocispec.Descriptor, from Blobs) error {
	if len(blobs) == 0 {
		return nil
	}
	var pusher *remote.Pusher
	err := s.client.retry(ctx, func() (err error) {
		pusher, err = s.pusher(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, blobs, func(ctx context.Context, desc ocispec.Descriptor) error {
		hash, err := v1.NewHash(desc.Digest.String())
		if err != nil {
			return err
		}
		layer := s.mountable(&blobLayer{ctx: ctx, from: from, desc: desc, hash: hash})
		return s.client.retry(ctx, func() error { return pusher.Upload(ctx, s.repo, layer) })
	})
}

// tag writes all tags. One that fails does not stop the others: the fewer are missing, the better.
func (c *Client) tag(ctx context.Context, tags []Reference, root document) error {
	faults := make([]error, len(tags))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, ref := range tags {
		g.Go(func() error {
			s, err := c.session(ref, transport.PushScope)
			if err == nil {
				err = s.put(ctx, ref.Tag, root)
			}
			if err != nil {
				faults[i] = explain("pushing", ref, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the faults are in faults, all of them
	err := errors.Join(faults...)
	if err == nil {
		return nil
	}
	var written []string
	for i, ref := range tags {
		if faults[i] == nil {
			written = append(written, ref.Familiar())
		}
	}
	if len(written) > 0 {
		return fmt.Errorf("%w (already written: %s)", err, strings.Join(written, ", "))
	}
	return err
}

// blobLayer is a blob as go-containerregistry's uploader wants it.
type blobLayer struct {
	ctx  context.Context //nolint:containedctx // v1.Layer has no place for it
	from Blobs
	desc ocispec.Descriptor
	hash v1.Hash
}

var _ v1.Layer = (*blobLayer)(nil)

var errUnused = errors.New("not known, and not needed for an upload")

// Digest returns the blob's digest.
func (l *blobLayer) Digest() (v1.Hash, error) { return l.hash, nil }

// DiffID always fails: see errUnused.
func (l *blobLayer) DiffID() (v1.Hash, error) { return v1.Hash{}, errUnused }

// Compressed opens the blob as it is to be sent; reading it verifies it.
func (l *blobLayer) Compressed() (io.ReadCloser, error) { return OpenBlob(l.ctx, l.from, l.desc) }

// Uncompressed always fails: see errUnused.
func (l *blobLayer) Uncompressed() (io.ReadCloser, error) { return nil, errUnused }

// Size returns the blob's size in bytes.
func (l *blobLayer) Size() (int64, error) { return l.desc.Size, nil }

// MediaType returns the blob's type; the uploader passes over those that nobody may distribute.
func (l *blobLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.desc.MediaType), nil
}
