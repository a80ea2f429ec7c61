// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Heads are what references name: the digest, or "" where there is nothing yet.
type Heads map[Reference]digest.Digest

// Heads looks up what refs name in their registries now, mirrors left aside.
func (c *Client) Heads(ctx context.Context, refs []Reference) (Heads, error) {
	out := Heads{}
	for _, ref := range refs {
		s, err := c.session(ref, transport.PullScope)
		if err != nil {
			return nil, err
		}
		doc, err := s.manifest(ctx, ref.identifier())
		if err != nil && !IsMissing(err) {
			return nil, explain("reading", ref, err)
		}
		out[ref] = doc.desc.Digest
	}
	return out, nil
}

// PushOver is Push, but writes no tag if one of refs by now names something else than was says (*MovedError). Registries cannot
// compare and write in one step, so that what another writes between the two is not seen.
func (c *Client) PushOver(ctx context.Context, idx Index, refs []Reference, from Blobs, was Heads) (ocispec.Descriptor, error) {
	return c.push(ctx, idx, refs, from, was)
}

// unmoved returns a *MovedError if a tag does not name what it did.
func (c *Client) unmoved(ctx context.Context, tags []Reference, was Heads) error {
	if was == nil {
		return nil
	}
	now, err := c.Heads(ctx, tags)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if was[tag] != now[tag] {
			return &MovedError{Ref: tag, Was: was[tag], Is: now[tag]}
		}
	}
	return nil
}

// MovedError says that somebody else wrote a tag since it was read. Nothing was written over it.
type MovedError struct {
	Ref     Reference
	Was, Is digest.Digest // "" if there was, or is, nothing
}

// Error names the tag and both digests.
func (e *MovedError) Error() string {
	name := func(d digest.Digest) string {
		if d == "" {
			return "nothing"
		}
		return d.String()
	}
	return fmt.Sprintf("pushing %q: somebody else wrote it meanwhile: it named %s, now %s", e.Ref.Familiar(), name(e.Was), name(e.Is))
}

// Hint says what to do.
func (e *MovedError) Hint() string {
	return "no tag was written; run the same command again, on what is there now"
}
