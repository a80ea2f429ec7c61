// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
)

// hinted is an error together with the advice that mends it.
type hinted struct {
	error
	hint string
}

// Unwrap returns the error proper.
func (e hinted) Unwrap() error { return e.error }

// Hint returns the advice.
func (e hinted) Hint() string { return e.hint }

func hintf(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

// DigestError says that content is not what its descriptor promised: damaged, cut short, or swapped. Sizes are in bytes.
type DigestError struct {
	Source            string // where the content came from: a registry's host, a directory
	Want, Got         digest.Digest
	WantSize, GotSize int64
}

// Error names both digests, or both sizes where the digests agree.
func (e *DigestError) Error() string {
	if e.Want == e.Got {
		return fmt.Sprintf("%s gave %s with %d bytes instead of %d", e.Source, e.Got, e.GotSize, e.WantSize)
	}
	return fmt.Sprintf("%s gave %s instead of %s", e.Source, e.Got, e.Want)
}

// Hint names what usually stands behind it.
func (e *DigestError) Hint() string {
	const hint = "something between here and there changes the bytes: a proxy, a damaged disk, or %s itself; trust nothing it gave"
	return fmt.Sprintf(hint, e.Source)
}

// Windows reports refused and reset connections by Winsock's own numbers, which package syscall does not map to the POSIX
// ones: https://learn.microsoft.com/windows/win32/winsock/windows-sockets-error-codes-2
const (
	wsaeConnReset   = syscall.Errno(10054)
	wsaeConnRefused = syscall.Errno(10061)
)

func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaeConnRefused)
}

func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, wsaeConnReset)
}

// isTransient reports whether trying again may help. A refused connection is not: waiting would only delay the message about
// a misspelled port.
func isTransient(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	switch status(err) {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case 0:
		return isCut(err)
	}
	return false
}

// status returns the HTTP status a registry refused with, 0 if err is no such refusal.
func status(err error) int {
	var refusal *transport.Error
	if errors.As(err, &refusal) {
		return refusal.StatusCode
	}
	return 0
}

func hasCode(err error, codes ...transport.ErrorCode) bool {
	var refusal *transport.Error
	return errors.As(err, &refusal) && slices.ContainsFunc(refusal.Errors, func(d transport.Diagnostic) bool {
		return slices.Contains(codes, d.Code)
	})
}

// explain wraps what went wrong with a registry and adds the hint for it, unless err brings its own.
func explain(doing string, ref Reference, err error) error {
	wrapped := fmt.Errorf("%s %q: %w", doing, ref.Familiar(), err)
	var known interface{ Hint() string }
	if errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return wrapped
	}
	hint := statusHint(ref, err)
	if hint == "" {
		hint = networkHint(ref.Registry, err)
	}
	if hint == "" {
		return wrapped
	}
	return hinted{wrapped, hint}
}

func statusHint(ref Reference, err error) string {
	host := ref.Registry
	switch code := status(err); {
	case hasCode(err, transport.ManifestBlobUnknownErrorCode, transport.BlobUnknownErrorCode),
		hasCode(err, transport.ManifestUnknownErrorCode) && method(err) == http.MethodPut:
		return fmt.Sprintf("an image the index names is not in %s/%s; it must be pushed there before the index", host, ref.Repository)
	case code == http.StatusUnauthorized:
		return fmt.Sprintf("%s wants other credentials; log in: docker login %s", host, host)
	case code == http.StatusForbidden:
		return fmt.Sprintf("the credentials for %s do not permit this in %q; log in as someone who may, or name another repository",
			host, ref.Repository)
	case code == http.StatusNotFound && method(err) == http.MethodGet:
		return fmt.Sprintf("check the spelling; %s knows no such image (some registries hide private ones so: docker login %s)", host, host)
	case code == http.StatusNotFound:
		return fmt.Sprintf("check the spelling; some registries want the repository %q to be made first", ref.Repository)
	case code == http.StatusTooManyRequests:
		return fmt.Sprintf("%s limits how often it may be asked; wait a little, or log in to raise the limit: docker login %s", host, host)
	case code >= http.StatusInternalServerError:
		return fmt.Sprintf("the fault is with %s, its own log tells more; run the same command again later", host)
	}
	return ""
}

func method(err error) string {
	var refusal *transport.Error
	if errors.As(err, &refusal) && refusal.Request != nil {
		return refusal.Request.Method
	}
	return ""
}

func networkHint(host string, err error) string {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, errPlain):
		return fmt.Sprintf("%s speaks plain HTTP; if that is meant, allow it: --insecure-registry", host)
	case errors.As(err, &authority), errors.As(err, &name):
		return fmt.Sprintf("install the CA of %s on this machine, or name its CA in a buildkitd.toml (docs/serve.md), or accept any: --insecure-registry", host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s is not valid at this time; check this machine's clock: date", host)
	case isRefused(err):
		return fmt.Sprintf("nothing listens at %s; check host and port, and that the registry runs", host)
	case errors.As(err, &dns):
		return fmt.Sprintf("this machine cannot find the address of %s; check its spelling and the network", host)
	case isCut(err):
		return fmt.Sprintf("%s, or a proxy before it, ended the connection early; run the same command again", host)
	}
	return ""
}
