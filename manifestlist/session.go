// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

type sessionKey struct{ registry, repository, scope, also string }

// session is the standing with one repository: how to reach it, and once authenticated, by what.
type session struct {
	client *Client
	host   string
	repo   name.Repository
	scope  string   // transport.PullScope or transport.PushScope
	also   []string // what else is asked for: to read what is mounted from other repositories
	route

	mu    sync.Mutex
	auth  authn.Authenticator
	first *http.Client // without a handshake
	ready *http.Client // after it
}

// String returns the registry, for messages.
func (s *session) String() string { return s.host }

type request struct {
	method string
	path   string // below /v2/<repository>/
	header http.Header
	body   []byte
}

var accepted = strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, dockerList, dockerManifest,
}, ",")

// do sends a request. An anonymous request to a registry that speaks plain HTTP, such as one on the loopback, goes out at once:
// one round trip instead of up to three (TLS, ping, request). Everything else, and a registry that does not take it, gets
// go-containerregistry's handshake first, which finds out scheme and authentication.
func (s *session) do(ctx context.Context, req request) (*http.Response, error) {
	client, handshaken, err := s.connect(ctx, false)
	if err != nil {
		return nil, err
	}
	resp, err := s.send(ctx, client, req)
	if handshaken || ctx.Err() != nil {
		return resp, err
	}
	// 401 asks for credentials, 400 is what TLS servers say to plain HTTP, and others answer with what is not HTTP at all.
	if err == nil && resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusBadRequest {
		return resp, nil
	}
	if err != nil && !strings.Contains(err.Error(), "malformed HTTP response") {
		return nil, err
	}
	if err == nil {
		drain(resp)
	}
	if client, _, err = s.connect(ctx, true); err != nil {
		return nil, err
	}
	return s.send(ctx, client, req)
}

func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	_ = resp.Body.Close()
}

func (s *session) send(ctx context.Context, client *http.Client, r request) (*http.Response, error) {
	u := url.URL{Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(), Path: "/v2/" + s.repo.RepositoryStr() + "/" + r.path}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for key, values := range r.header {
		req.Header[key] = values
	}
	return client.Do(req)
}

// connect returns the client to use, and whether it stands on a handshake, which it makes if need be.
func (s *session) connect(ctx context.Context, handshake bool) (*http.Client, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready != nil {
		return s.ready, true, nil
	}
	if s.auth == nil {
		auth, err := authn.Resolve(ctx, authn.DefaultKeychain, s.repo)
		if err != nil {
			return nil, false, hintf(fmt.Errorf("getting the credentials for %s: %w", s.host, err),
				"mend docker's config.json, or log in again: docker login %s", s.host)
		}
		s.auth = auth
	}
	base := transport.NewUserAgent(s.base, s.client.cfg.UserAgent)
	if s.direct && s.auth == authn.Anonymous && !handshake {
		if s.first == nil {
			s.first = &http.Client{Transport: base}
		}
		return s.first, false, nil
	}
	tr, err := transport.NewWithContext(ctx, s.repo.Registry, s.auth, base, append([]string{s.repo.Scope(s.scope)}, s.also...))
	if err != nil {
		return nil, false, err
	}
	s.ready = &http.Client{Transport: tr}
	return s.ready, true, nil
}

// pusher returns go-containerregistry's uploader over this session.
func (s *session) pusher(ctx context.Context) (*remote.Pusher, error) {
	client, _, err := s.connect(ctx, true)
	if err != nil {
		return nil, err
	}
	// A transport that is ready to use is taken as it is: no second handshake.
	return remote.NewPusher(remote.WithTransport(client.Transport), once())
}

// manifest reads a manifest or index by tag or digest. What comes by digest is verified. The descriptor's digest is that of
// the bytes, whatever the registry's headers say.
func (s *session) manifest(ctx context.Context, id string) (document, error) {
	var doc document
	err := s.client.retry(ctx, func() error {
		resp, err := s.do(ctx, request{
			method: http.MethodGet, path: "manifests/" + id, header: http.Header{"Accept": {accepted}},
		})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if err := transport.CheckError(resp, http.StatusOK); err != nil {
			return err
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
		if err != nil {
			return err
		}
		if len(raw) > maxDocument {
			return fmt.Errorf("the manifest is larger than %d bytes", maxDocument)
		}
		mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		doc = document{ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw}
		return nil
	})
	if err != nil {
		return document{}, err
	}
	if want, err := digest.Parse(id); err == nil {
		if got := want.Algorithm().FromBytes(doc.raw); got != want {
			return document{}, &DigestError{Source: s.host, Want: want, Got: got, GotSize: doc.desc.Size}
		}
		doc.desc.Digest = want
	}
	return doc, nil
}

// put writes a manifest or index under a tag or its digest, and makes sure that the registry has it by the right digest.
func (s *session) put(ctx context.Context, id string, doc document) error {
	var got digest.Digest
	err := s.client.retry(ctx, func() error {
		resp, err := s.do(ctx, request{
			method: http.MethodPut, path: "manifests/" + id, body: doc.raw,
			header: http.Header{"Content-Type": {doc.desc.MediaType}},
		})
		if err != nil {
			return err
		}
		defer drain(resp)
		got = digest.Digest(resp.Header.Get("Docker-Content-Digest"))
		return transport.CheckError(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted)
	})
	switch {
	case err != nil && s.holds(ctx, id, doc, err):
		return nil
	case err != nil:
		return err
	case got == "":
		// The header is optional on PUT: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
		stored, err := s.manifest(ctx, id)
		if err != nil {
			return err
		}
		got = stored.desc.Digest
	}
	if got != doc.desc.Digest {
		return &DigestError{Source: s.host, Want: doc.desc.Digest, Got: got}
	}
	return nil
}

// holds reports whether a refused tag already names the content. Registries with immutable tags refuse to write a tag again
// even then, each with a status of its own: ECR 400, GitLab 403, Quay 409, Harbor 412.
func (s *session) holds(ctx context.Context, id string, doc document, refusal error) bool {
	switch status(refusal) {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusConflict, http.StatusPreconditionFailed:
		stored, err := s.manifest(ctx, id)
		return err == nil && stored.desc.Digest == doc.desc.Digest
	}
	return false
}
