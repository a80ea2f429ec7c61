// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Repository is a registry's repository as a source of blobs.
type Repository struct {
	client *Client
	ref    Reference
}

var _ Blobs = (*Repository)(nil)

// Repository returns the repository of ref as Blobs; tag and digest do not matter. Nothing is dialled yet.
func (c *Client) Repository(ref Reference) *Repository { return &Repository{c, ref} }

// String returns the registry's host, for messages.
func (r *Repository) String() string { return r.ref.Registry }

// Open reads from the registry. Manifests and configs are read at once, again if the connection breaks; layers are streamed,
// and asked for from where they broke off.
// Errors name the repository and the digest, and have a Hint where there is one.
func (r *Repository) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	ref := r.ref
	ref.Tag, ref.Digest = "", desc.Digest
	s, err := r.client.session(ref, transport.PullScope)
	if err != nil {
		return nil, err
	}
	if isImageType(desc.MediaType) || isIndexType(desc.MediaType) {
		doc, err := s.manifest(ctx, desc.Digest.String())
		if err != nil {
			return nil, explain("reading", ref, err)
		}
		return io.NopCloser(bytes.NewReader(doc.raw)), nil
	}
	var body io.ReadCloser
	err = r.client.retry(ctx, func() error {
		body, err = s.blob(ctx, desc)
		return err
	})
	if err != nil {
		return nil, explain("reading", ref, err)
	}
	return body, nil
}

// smallBlob is the size up to which a blob is read at once: configs and attestations, and layers of a few files.
const smallBlob = 256 << 10

func (s *session) blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	resp, err := s.do(ctx, request{method: http.MethodGet, path: "blobs/" + desc.Digest.String()})
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		drain(resp)
		return nil, err
	}
	if desc.Size > smallBlob {
		return &resumed{ctx: ctx, s: s, desc: desc, body: resp.Body}, nil
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, smallBlob+1))
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}
