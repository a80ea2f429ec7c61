// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Reached is a registry that answered.
type Reached struct {
	// User is whom the registry took the credentials of; "" for nobody. It is "<token>" where the credentials name none.
	User string
	// Plain tells that it speaks plain HTTP.
	Plain bool
	// Ahead is by how much this machine's clock is ahead of the registry's, to about a second; nil if the registry told no time.
	Ahead *time.Duration
}

// CredentialsError is a registry that answers, but not with the credentials that docker's configuration has for it.
type CredentialsError struct {
	// Registry is its host, and User whose credentials they are; "" if they could not be read.
	Registry, User string
	// Err is what was wrong.
	Err error
}

// Error names the registry and the user.
func (e *CredentialsError) Error() string {
	if e.User == "" {
		return fmt.Sprintf("getting the credentials for %s: %v", e.Registry, e.Err)
	}
	return fmt.Sprintf("%s refuses the credentials of %q: %v", e.Registry, e.User, e.Err)
}

// Unwrap gives the cause.
func (e *CredentialsError) Unwrap() error { return e.Err }

// Hint says how to get right ones.
func (e *CredentialsError) Hint() string {
	if e.User == "" {
		return "mend docker's config.json, or log in again: docker login " + e.Registry
	}
	return "docker login " + e.Registry
}

// Ping asks a registry, given as host or host:port, whether it is there and takes the credentials that docker's configuration
// has for it, as docker login does. It tries once. With a *CredentialsError what is Reached holds, too; other errors have a Hint where
// there is one. A credential helper that does not answer is waited for beyond the end of ctx.
func (c *Client) Ping(ctx context.Context, host string) (Reached, error) {
	s, err := c.session(Reference{Registry: host, Repository: "mab"}, transport.PullScope)
	if err != nil {
		return Reached{}, hintf(err, "give host or host:port, without scheme and path")
	}
	reg := s.repo.Registry
	auth, authErr := authn.Resolve(ctx, authn.DefaultKeychain, reg)
	if authErr != nil {
		auth = authn.Anonymous
	}
	watch := &watch{RoundTripper: transport.NewUserAgent(s.base, c.cfg.UserAgent), host: reg.RegistryStr()}
	challenge, err := transport.Ping(ctx, reg, watch)
	if err != nil {
		return Reached{}, explainPing(host, err)
	}
	out := Reached{Plain: challenge.Insecure, Ahead: watch.difference()}
	switch {
	case authErr != nil:
		return out, &CredentialsError{Registry: host, Err: authErr}
	case auth == authn.Anonymous:
		return out, nil
	}
	login, err := authn.Authorization(ctx, auth)
	if err != nil {
		return out, &CredentialsError{Registry: host, Err: err}
	}
	user := login.Username
	if user == "" {
		user = "<token>"
	}
	switch err := tryLogin(ctx, reg, auth, watch); {
	case status(err) == http.StatusUnauthorized, status(err) == http.StatusForbidden:
		return out, &CredentialsError{Registry: host, User: user, Err: err}
	case err != nil:
		return out, explainPing(host, err)
	}
	out.User = user
	return out, nil
}

// tryLogin asks for a token if the registry wants one, and for /v2/ with that or with the credentials themselves.
func tryLogin(ctx context.Context, reg name.Registry, auth authn.Authenticator, base http.RoundTripper) error {
	tr, err := transport.NewWithContext(ctx, reg, auth, base, nil)
	if err != nil {
		return err
	}
	// The transport knows the scheme.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, reg.Scheme()+"://"+reg.RegistryStr()+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return err
	}
	defer drain(resp)
	return transport.CheckError(resp, http.StatusOK)
}

func explainPing(host string, err error) error {
	wrapped := fmt.Errorf("reaching %q: %w", host, err)
	// Where plain HTTP is allowed, the error of TLS comes along with that of HTTP.
	switch code := status(err); {
	case code >= http.StatusInternalServerError:
		return hintf(wrapped, "the fault is with %s, its own log tells more", host)
	case code != 0:
		return hintf(wrapped, "check the spelling; what answers at %s is no registry", host)
	}
	if hint := networkHint(host, err); hint != "" {
		return hinted{wrapped, hint}
	}
	return hintf(wrapped, "check the network, a proxy or a firewall: curl -v https://%s/v2/", host)
}

// watch compares the clocks by the registry's answers.
type watch struct {
	http.RoundTripper
	host string

	mu    sync.Mutex
	ahead *time.Duration
}

// RoundTrip sends req, and reads the time of the answer.
func (w *watch) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := w.RoundTripper.RoundTrip(req)
	if err != nil || req.URL.Host != w.host {
		return resp, err
	}
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header has whole seconds, cut off.
		ahead := sent.Sub(theirs.Add(time.Second / 2))
		w.mu.Lock()
		w.ahead = &ahead
		w.mu.Unlock()
	}
	return resp, nil
}

func (w *watch) difference() *time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ahead
}
