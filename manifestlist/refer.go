// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ReferrerError says that an index was pushed, but registries did not take its Referrer.
type ReferrerError struct{ err error }

// Error names the repositories and what their registries said.
func (e *ReferrerError) Error() string { return e.err.Error() }

// Unwrap gives what the registries said.
func (e *ReferrerError) Unwrap() error { return e.err }

// refer brings a referrer into each repository, where the index is, or will be. What a registry answers with a refusal is returned apart, for
// that is no reason to give the index up.
func (c *Client) refer(ctx context.Context, repos []Reference, r *Referrer) (refused *ReferrerError, err error) {
	if r == nil {
		return nil, nil
	}
	faults := make([]error, len(repos))
	at := map[Reference]int{}
	for i, repo := range repos {
		at[repo] = i
	}
	err = each(ctx, repos, func(ctx context.Context, repo Reference) error {
		s, err := c.session(repo, transport.PushScope)
		if err == nil {
			err = s.refer(ctx, r)
		}
		if err == nil {
			return nil
		}
		err = explain("pushing what is known about the index to", repo, err)
		if status(err) == 0 {
			return err
		}
		faults[at[repo]] = err
		return nil
	})
	if err != nil {
		return nil, err
	}
	if all := errors.Join(faults...); all != nil {
		return &ReferrerError{all}, nil
	}
	return nil, nil
}

func (s *session) refer(ctx context.Context, r *Referrer) error {
	listed, supported, err := s.lists(ctx, r.subject, r.Descriptor.Digest)
	if err != nil || listed {
		return err
	}
	if err := s.upload(ctx, r.blobs, nothing{}); err != nil {
		return err
	}
	answered, err := s.putReferrer(ctx, r)
	if err != nil || supported || answered {
		return err
	}
	return s.listByTag(ctx, r)
}

// nothing has no blobs: their data is in the descriptors.
type nothing struct{}

var _ Blobs = nothing{}

// Open always fails.
func (nothing) Open(context.Context, ocispec.Descriptor) (io.ReadCloser, error) {
	return nil, errUnused
}

// lists reports whether the registry knows a referrer of subject already, and whether it has the API that tells.
func (s *session) lists(ctx context.Context, subject, referrer digest.Digest) (listed, supported bool, err error) {
	index, err := s.referrers(ctx, refersPath(subject))
	if err == nil {
		return index.has(referrer), true, nil
	}
	if code := status(err); code < http.StatusBadRequest || code >= http.StatusInternalServerError || code == http.StatusTooManyRequests {
		return false, false, err
	}
	// Whatever else it says, it knows no such path.
	index, err = s.referrers(ctx, "manifests/"+referrersTag(subject))
	if status(err) == http.StatusNotFound {
		return false, false, nil
	}
	return index.has(referrer), false, err
}

// referrerList is an index of referrers.
type referrerList struct{ ocispec.Index }

func (l referrerList) has(d digest.Digest) bool {
	return slices.ContainsFunc(l.Manifests, func(m ocispec.Descriptor) bool { return m.Digest == d })
}

func (s *session) referrers(ctx context.Context, path string) (out referrerList, err error) {
	err = s.client.retry(ctx, func() error {
		resp, err := s.do(ctx, request{method: http.MethodGet, path: path, header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}}})
		if err != nil {
			return err
		}
		defer drain(resp)
		if err := transport.CheckError(resp, http.StatusOK); err != nil {
			return err
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
		if err != nil {
			return err
		}
		if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&out.Index); err != nil {
			return fmt.Errorf("reading a list of referrers: %w", err)
		}
		return nil
	})
	return out, err
}

// putReferrer writes the manifest, and reports whether the registry said that it took notice of the subject.
func (s *session) putReferrer(ctx context.Context, r *Referrer) (noticed bool, err error) {
	err = s.client.retry(ctx, func() error {
		resp, err := s.do(ctx, request{
			method: http.MethodPut, path: "manifests/" + r.Descriptor.Digest.String(), body: r.Raw,
			header: http.Header{"Content-Type": {r.Descriptor.MediaType}},
		})
		if err != nil {
			return err
		}
		defer drain(resp)
		noticed = strings.EqualFold(resp.Header.Get("OCI-Subject"), r.subject.String())
		return transport.CheckError(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted)
	})
	return noticed, err
}

// listByTag adds a referrer to the list that stands for the API in registries without it.
func (s *session) listByTag(ctx context.Context, r *Referrer) error {
	tag := referrersTag(r.subject)
	list, err := s.referrers(ctx, "manifests/"+tag)
	if err != nil && status(err) != http.StatusNotFound {
		return err
	}
	list.Versioned, list.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageIndex
	list.Manifests = append(list.Manifests, r.Descriptor)
	raw, err := json.Marshal(list.Index)
	if err != nil {
		return fmt.Errorf("writing a list of referrers: %w", err)
	}
	desc := ocispec.Descriptor{MediaType: list.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return s.put(ctx, tag, document{desc, raw})
}
