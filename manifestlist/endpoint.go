// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// EngineConfig says which engine is meant. The zero value finds it as docker's own client does.
type EngineConfig struct {
	// Context is the name of a docker context, or an address such as unix:///run/docker.sock. Empty: that of the environment.
	Context string
	// Getenv gives a variable of the environment, "" if it is not set. Nil: os.Getenv.
	Getenv func(string) string
}

func (c EngineConfig) getenv(name string) string {
	if c.Getenv != nil {
		return c.Getenv(name)
	}
	return os.Getenv(name)
}

// dir is where docker keeps its config.json and its contexts.
func (c EngineConfig) dir() string {
	return cmp.Or(c.getenv("DOCKER_CONFIG"), filepath.Join(c.getenv("HOME"), ".docker"))
}

// defaultHost is where docker's engine listens if nothing else is said.
const defaultHost = "unix:///var/run/docker.sock"

// endpoint is an address where an engine may listen.
type endpoint struct {
	// host is a URL: unix://, tcp://, http://, https:// or ssh://.
	host string
	// origin is what named it, for messages.
	origin string
	// tls is how to speak to it; nil: in plain.
	tls *tls.Config
}

func (at endpoint) String() string { return fmt.Sprintf("%s (%s)", at.host, at.origin) }

// EngineHost is the address of the engine that cfg means, whether one is there or not: what docker calls the daemon's host.
func EngineHost(cfg EngineConfig) string {
	list, err := cfg.endpoints()
	if err != nil || len(list) == 0 {
		return defaultHost
	}
	return list[0].host
}

// endpoints are the addresses to try, in order. What the user named is the only one; else docker's sockets come before podman's.
// Source: https://docs.docker.com/engine/manage-resources/contexts/ and podman-system-service(1).
func (c EngineConfig) endpoints() ([]endpoint, error) {
	if strings.Contains(c.Context, "://") {
		return []endpoint{{host: c.Context, origin: "context=" + c.Context}}, nil
	}
	if c.Context != "" && c.Context != "default" {
		return c.named(c.Context, "context="+c.Context)
	}
	if host := c.getenv("DOCKER_HOST"); host != "" {
		how, err := c.envTLS()
		return []endpoint{{host: host, origin: "DOCKER_HOST", tls: how}}, err
	}
	if c.Context == "" {
		if name := c.getenv("DOCKER_CONTEXT"); name != "" && name != "default" {
			return c.named(name, "DOCKER_CONTEXT")
		}
		name, err := c.current()
		if err != nil {
			return nil, err
		}
		if name != "" && name != "default" && c.getenv("DOCKER_CONTEXT") == "" {
			return c.named(name, "docker context "+name)
		}
	}
	if host := c.getenv("CONTAINER_HOST"); host != "" {
		return []endpoint{{host: host, origin: "CONTAINER_HOST"}}, nil
	}
	return c.usual(), nil
}

// usual are the sockets of docker and podman, rootful and rootless.
func (c EngineConfig) usual() []endpoint {
	list := []endpoint{{host: defaultHost, origin: "docker's default"}}
	if dir := c.getenv("XDG_RUNTIME_DIR"); dir != "" {
		list = append(list,
			endpoint{host: "unix://" + filepath.Join(dir, "docker.sock"), origin: "rootless docker"},
			endpoint{host: "unix://" + filepath.Join(dir, "podman/podman.sock"), origin: "rootless podman"})
	}
	return append(list, endpoint{host: "unix:///run/podman/podman.sock", origin: "podman"})
}

// current is the name of docker's current context; empty: none was chosen.
func (c EngineConfig) current() (string, error) {
	path := filepath.Join(c.dir(), "config.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &config)
	}
	if err != nil {
		return "", fmt.Errorf("reading docker's configuration %q: %w", path, err)
	}
	return config.CurrentContext, nil
}

// named finds a docker context in docker's store. Its directories are named by the digest of the context's name.
// Source: https://github.com/docker/cli/blob/v29.7.2/cli/context/store/doc.go
func (c EngineConfig) named(name, origin string) ([]endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	path := filepath.Join(c.dir(), "contexts", "meta", id, "meta.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hintf(fmt.Errorf("finding the engine: there is no docker context %q (%s)", name, origin),
			"the contexts that are there: docker context ls")
	}
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err == nil {
		err = json.Unmarshal(raw, &meta)
	}
	if err != nil {
		return nil, fmt.Errorf("finding the engine: reading the docker context %q: %w", name, err)
	}
	docker := meta.Endpoints["docker"]
	if docker.Host == "" {
		return nil, fmt.Errorf("finding the engine: the docker context %q has no address", name)
	}
	how, err := tlsFiles(filepath.Join(c.dir(), "contexts", "tls", id, "docker"), docker.SkipTLSVerify)
	if err != nil {
		return nil, fmt.Errorf("finding the engine: reading the certificates of the docker context %q: %w", name, err)
	}
	return []endpoint{{host: docker.Host, origin: origin, tls: how}}, nil
}

// envTLS is the TLS of DOCKER_HOST. Nil: none.
func (c EngineConfig) envTLS() (*tls.Config, error) {
	verify := c.getenv("DOCKER_TLS_VERIFY") != ""
	if !verify && c.getenv("DOCKER_TLS") == "" {
		return nil, nil
	}
	dir := cmp.Or(c.getenv("DOCKER_CERT_PATH"), c.dir())
	how, err := tlsFiles(dir, !verify)
	if err != nil {
		return nil, fmt.Errorf("finding the engine: reading the certificates in %q (DOCKER_CERT_PATH): %w", dir, err)
	}
	if how == nil {
		how = &tls.Config{InsecureSkipVerify: !verify, MinVersion: tls.VersionTLS12} //nolint:gosec // the user's choice: DOCKER_TLS
	}
	return how, nil
}

// tlsFiles reads ca.pem, cert.pem and key.pem, each if it is there. Nil: the directory has none, and nothing was said of TLS.
func tlsFiles(dir string, skipVerify bool) (*tls.Config, error) {
	out := &tls.Config{InsecureSkipVerify: skipVerify, MinVersion: tls.VersionTLS12} //nolint:gosec // the user's choice for that engine
	found := skipVerify
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	switch {
	case err == nil:
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("ca.pem holds no certificate")
		}
		found = true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	switch {
	case err == nil:
		out.Certificates = []tls.Certificate{cert}
		found = true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if !found {
		return nil, nil
	}
	return out, nil
}
