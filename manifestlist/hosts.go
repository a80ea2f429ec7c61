// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// Registry says how one registry is reached: what [registry."HOST"] of a buildkitd.toml says. It is plain data, with the names of that
// file as JSON. Files are those of the machine that reads from the registry or writes to it.
type Registry struct {
	// Host is the registry as references name it: host or host:port. Docker Hub is docker.io.
	Host string `json:"host"`
	// Mirrors are asked by who reads, in this order, before Host: host[:port][/path]. How each is reached, an entry of its own says.
	Mirrors []string `json:"mirrors,omitempty"`
	// HTTP says whether it speaks plain HTTP. Nil: if it is on the loopback and has neither CAs nor KeyPairs.
	HTTP *bool `json:"http,omitempty"`
	// Insecure accepts any certificate; with HTTP, HTTPS is tried first.
	Insecure bool `json:"insecure,omitempty"`
	// CAs are files of PEM certificates that are trusted beside the system's.
	CAs []string `json:"ca,omitempty"`
	// KeyPairs are what this machine shows when it is asked who it is.
	KeyPairs []KeyPair `json:"keypair,omitempty"`
}

// KeyPair is a client's certificate and its key: two PEM files.
type KeyPair struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Plain reports whether the registry speaks plain HTTP.
func (r Registry) Plain() bool {
	if r.HTTP != nil {
		return *r.HTTP
	}
	return isLoopback(r.Host) && len(r.CAs)+len(r.KeyPairs) == 0
}

// TLS reads the certificates. Its errors name the registry and the file, and have a Hint.
func (r Registry) TLS() (*tls.Config, error) {
	cfg := &tls.Config{InsecureSkipVerify: r.Insecure} //nolint:gosec // the user said so of this registry
	if len(r.CAs) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			// A machine without certificates of its own trusts those that are given.
			pool = x509.NewCertPool()
		}
		cfg.RootCAs = pool
	}
	for _, file := range r.CAs {
		text, err := os.ReadFile(file)
		if err == nil && !cfg.RootCAs.AppendCertsFromPEM(text) {
			err = errors.New("it holds no certificate")
		}
		if err != nil {
			return nil, hintf(fmt.Errorf("reading the CA %q of %s: %w", file, r.Host, err), "ca names files of PEM certificates")
		}
	}
	for _, pair := range r.KeyPairs {
		cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			return nil, hintf(fmt.Errorf("reading the key pair %q of %s: %w", pair.Cert, r.Host, err),
				"cert and key name PEM files that belong together")
		}
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	return cfg, nil
}

// Registries are those that are reached in another way than by default, in the order of their file.
type Registries []Registry

// Find returns the entry of a host, and whether there is one.
func (l Registries) Find(host string) (Registry, bool) {
	i := slices.IndexFunc(l, func(r Registry) bool { return r.Host == host })
	if i < 0 {
		return Registry{Host: host}, false
	}
	return l[i], true
}

// route is how this client reaches a registry.
type route struct {
	base http.RoundTripper
	// plain allows plain HTTP; direct tries it first.
	plain, direct bool
}

// route must be called with the lock held.
func (c *Client) route(host string) (route, error) {
	out := route{base: c.strict, direct: isLoopback(host)}
	entry, known := c.cfg.Registries.Find(host)
	if known {
		out.direct = entry.Plain() && !entry.Insecure
	}
	out.plain = out.direct || entry.Plain() || c.insecure(host)
	switch {
	case c.insecure(host):
		entry.Insecure = true
		if len(entry.KeyPairs) == 0 {
			out.base = c.trusting
			return out, nil
		}
	case !entry.Insecure && len(entry.CAs)+len(entry.KeyPairs) == 0:
		return out, nil
	}
	base, ok := c.own[host]
	if !ok {
		cfg, err := entry.TLS()
		if err != nil {
			return route{}, err
		}
		base = newTransport()
		base.TLSClientConfig = cfg
		c.own[host] = base
	}
	out.base = base
	return out, nil
}

// readers are where ref is read from: the mirrors of its registry, then the registry itself.
func (c *Client) readers(ref Reference) []Reference {
	entry, _ := c.cfg.Registries.Find(ref.Registry)
	var out []Reference
	for _, mirror := range entry.Mirrors {
		at := ref
		host, path := splitMirror(mirror)
		at.Registry = host
		if path != "" {
			at.Repository = path + "/" + ref.Repository
		}
		out = append(out, at)
	}
	return append(out, ref)
}

// splitMirror reads a mirror as BuildKit does: a scheme is passed over, and a path goes before the repository's.
func splitMirror(mirror string) (host, path string) {
	u, err := url.Parse(mirror)
	if err != nil || u.Host == "" {
		u, err = url.Parse("//" + mirror)
	}
	if err != nil || u.Host == "" {
		return mirror, ""
	}
	return u.Host, strings.Trim(u.Path, "/")
}
