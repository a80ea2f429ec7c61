// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Config says how registries are reached. The zero value reaches all that docker reaches: credentials come from docker's
// config.json and its credential helpers (else podman's auth.json), at each first use of a repository.
type Config struct {
	// Insecure accepts plain HTTP and any certificate, of every registry.
	Insecure bool
	// InsecureRegistries accepts them of these, as host or host:port. Loopback registries (localhost, *.localhost,
	// 127.0.0.0/8, ::1) may always speak plain HTTP.
	InsecureRegistries []string
	// Registries say how these are reached. What Insecure and InsecureRegistries allow is allowed of them too.
	Registries Registries
	// RetryWait is the pause before a request that failed for a passing reason is made again; the next is four times as
	// long, and then it is given up. 0 means 250 ms.
	RetryWait time.Duration
	// UserAgent goes in front of go-containerregistry's own. "" means mab.
	UserAgent string
}

// Client reads from and writes to registries. It keeps connections and tokens for its next call, and may be used by several
// goroutines at once.
type Client struct {
	cfg              Config
	strict, trusting *http.Transport

	mu       sync.Mutex
	own      map[string]*http.Transport // by host, of registries with certificates of their own
	sessions map[sessionKey]*session
}

// New returns a Client; nothing is dialled yet. It refuses an InsecureRegistries entry that is no host.
func New(cfg Config) (*Client, error) {
	for _, host := range cfg.InsecureRegistries {
		if reg, err := name.NewRegistry(host); err != nil || host == "" || reg.RegistryStr() != host {
			return nil, hintf(fmt.Errorf("reading insecure registry %q: not a host", host), "give host or host:port, without scheme and path")
		}
	}
	if cfg.RetryWait == 0 {
		cfg.RetryWait = 250 * time.Millisecond
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "mab"
	}
	trusting := newTransport()
	trusting.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // only for registries the user named insecure
	return &Client{
		cfg: cfg, strict: newTransport(), trusting: trusting, own: map[string]*http.Transport{}, sessions: map[sessionKey]*session{},
	}, nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 2 * parallel,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
}

// Close drops idle connections. The Client can still be used.
func (c *Client) Close() {
	c.strict.CloseIdleConnections()
	c.trusting.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, transport := range c.own {
		transport.CloseIdleConnections()
	}
}

func (c *Client) insecure(host string) bool {
	return c.cfg.Insecure || slices.Contains(c.cfg.InsecureRegistries, host)
}

// retry runs op until it succeeds, up to three times, if its failures are such as pass.
func (c *Client) retry(ctx context.Context, op func() error) error {
	wait := c.cfg.RetryWait
	for try := 1; ; try++ {
		err := op()
		if err == nil || try == 3 || !isTransient(err) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		wait *= 4
	}
}

// session returns the standing of this client with one repository: pull or push.
func (c *Client) session(ref Reference, scope string, also ...string) (*session, error) {
	key := sessionKey{ref.Registry, ref.Repository, scope, strings.Join(also, " ")}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.sessions[key]; ok {
		return s, nil
	}
	way, err := c.route(ref.Registry)
	if err != nil {
		return nil, err
	}
	s := &session{client: c, host: ref.Registry, scope: scope, also: also, route: way}
	var opts []name.Option
	if s.plain {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(ref.Registry, opts...)
	if err != nil {
		return nil, fmt.Errorf("reading registry %q: %w", ref.Registry, err)
	}
	s.repo = reg.Repo(ref.Repository)
	if !s.plain {
		s.base = tlsOnly{s.base, reg.RegistryStr()}
	}
	c.sessions[key] = s
	return s, nil
}

var errPlain = errors.New("plain HTTP is not allowed")

// tlsOnly refuses plain HTTP to the registry. go-containerregistry would fall back to it, credentials and all, for every
// registry with a private address.
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

// once is remote's way to say: no tries of its own, Client.retry makes them.
func once() remote.Option { return remote.WithRetryBackoff(remote.Backoff{Steps: 1}) }
