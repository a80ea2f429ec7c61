// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registrySource reads with docker's credentials: those of config.json and its helpers, else podman's.
type registrySource struct {
	ref    name.Reference
	puller *remote.Puller
}

func newRegistrySource(reference string) (*registrySource, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, &referenceError{err}
	}
	transport := remote.DefaultTransport
	if host := ref.Context().RegistryStr(); !isLoopback(host) {
		transport = tlsOnly{transport, host}
	}
	puller, err := remote.NewPuller(
		remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(transport), remote.WithUserAgent("mab"))
	if err != nil {
		return nil, err
	}
	return &registrySource{ref, puller}, nil
}

// referenceError is a name that no image can have.
type referenceError struct{ err error }

func (e *referenceError) Error() string { return fmt.Sprintf("reading the reference: %v", e.err) }

// Unwrap gives the cause.
func (e *referenceError) Unwrap() error { return e.err }

// Hint says how to go on.
func (e *referenceError) Hint() string {
	return "names are lower-case letters, digits, and . _ - between them; tags up to 128 letters, digits, . _ -"
}

func (s *registrySource) root(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	got, err := s.puller.Get(ctx, s.ref)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	return ocispec.Descriptor{Digest: digest.Digest(got.Digest.String())}, got.Manifest, nil
}

func (s *registrySource) document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	got, err := s.puller.Get(ctx, s.ref.Context().Digest(desc.Digest.String()))
	if err != nil {
		return nil, err
	}
	return got.Manifest, nil
}

func (s *registrySource) blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	layer, err := s.puller.Layer(ctx, s.ref.Context().Digest(desc.Digest.String()))
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

var errPlain = errors.New("plain HTTP is allowed for registries of this machine only")

// tlsOnly refuses plain HTTP to a registry, to which go-containerregistry falls back, credentials and all, where the registry has a
// private address.
type tlsOnly struct {
	http.RoundTripper
	host string
}

// RoundTrip sends req, or gives errPlain.
func (t tlsOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && strings.EqualFold(req.URL.Host, t.host) {
		return nil, errPlain
	}
	return t.RoundTripper.RoundTrip(req)
}

// isLoopback reports whether host (with or without port) is this machine by its name alone. RFC 6761 section 6.3 gives
// .localhost to the loopback.
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddrPort(host); err == nil {
		return addr.Addr().Unmap().IsLoopback()
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.Unmap().IsLoopback()
	}
	bare, _, _ := strings.Cut(strings.ToLower(host), ":")
	return bare == "localhost" || strings.HasSuffix(bare, ".localhost")
}
