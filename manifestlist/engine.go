// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/cli/cli/connhelper"

	"github.com/mab-build/mab/platforms"
)

// Engine is a Docker Engine, or a podman that speaks its API, which images are loaded into. It is safe for several loads at once.
type Engine struct {
	at      endpoint
	http    *http.Client
	base    string // scheme, host and version of the API
	podman  bool
	indexes bool
	own     platforms.Platform
}

// answerWithin is how long an engine may take to say that it is there.
const answerWithin = 10 * time.Second

// OpenEngine finds the engine that cfg means and makes sure that it answers. The caller closes it.
func OpenEngine(ctx context.Context, cfg EngineConfig) (*Engine, error) {
	list, err := cfg.endpoints()
	if err != nil {
		return nil, err
	}
	var failed SilentError
	for _, at := range list {
		e, err := connect(ctx, at)
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("asking the engine at %s: %w", at, ctx.Err())
		}
		failed.tried = append(failed.tried, at)
		failed.errs = append(failed.errs, err)
	}
	return nil, &failed
}

// SilentError is an engine that does not answer.
type SilentError struct {
	tried []endpoint
	errs  []error
}

// Error names every address that was tried, and why it is none.
func (e *SilentError) Error() string {
	parts := make([]string, len(e.tried))
	for i, at := range e.tried {
		parts[i] = fmt.Sprintf("%s: %v", at, e.errs[i])
	}
	return "no engine to load the image into answers: " + strings.Join(parts, "; ")
}

// Unwrap gives the reasons.
func (e *SilentError) Unwrap() []error { return e.errs }

// Hint says how to have one.
func (e *SilentError) Hint() string {
	var unknown x509.UnknownAuthorityError
	if errors.As(e, &unknown) {
		return "its certificate is of an unknown authority: put that into ca.pem, in the directory DOCKER_CERT_PATH or of the docker context"
	}
	if errors.Is(e, syscall.EACCES) {
		return "this user may not speak to the engine: ask to be in the group of its socket, or use rootless podman; without an engine: -o type=docker,dest=FILE"
	}
	return "start one (dockerd, or podman system service --time=0), or name it with DOCKER_HOST; without an engine: -o type=docker,dest=FILE"
}

func connect(ctx context.Context, at endpoint) (*Engine, error) {
	transport, base, err := at.transport()
	if err != nil {
		return nil, err
	}
	e := &Engine{at: at, http: &http.Client{Transport: transport}, base: base}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := e.introduce(ctx); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// transport is the way to the engine, and how URLs on it begin.
func (at endpoint) transport() (*http.Transport, string, error) {
	out := &http.Transport{TLSClientConfig: at.tls, DisableCompression: true, Proxy: http.ProxyFromEnvironment}
	scheme, rest, _ := strings.Cut(at.host, "://")
	switch scheme {
	case "unix":
		out.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", rest)
		}
		return out, "http://engine", nil
	case "tcp", "http", "https":
		address, err := url.Parse(at.host)
		if err != nil {
			return nil, "", err
		}
		secure := scheme == "https" || scheme == "tcp" && at.tls != nil
		if scheme == "tcp" && address.Port() == "" {
			port := map[bool]string{false: "2375", true: "2376"}[secure]
			address.Host = net.JoinHostPort(address.Hostname(), port)
		}
		address.Scheme = map[bool]string{false: "http", true: "https"}[secure]
		return out, strings.TrimSuffix(address.String(), "/"), nil
	case "ssh":
		helper, err := connhelper.GetConnectionHelper(at.host)
		if err != nil {
			return nil, "", err
		}
		out.DialContext = helper.Dialer
		return out, "http://engine", nil
	}
	return nil, "", hintf(fmt.Errorf("mab cannot speak %s://", scheme), "use unix://, tcp:// or ssh://")
}

// introduce asks the engine who it is.
// Source: https://docs.docker.com/reference/api/engine/version/v1.41/ (SystemPing, SystemInfo)
func (e *Engine) introduce(ctx context.Context) error {
	resp, err := e.do(ctx, http.MethodGet, e.base+"/_ping", nil)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	e.podman = resp.Header.Get("Libpod-Api-Version") != ""
	if version := resp.Header.Get("Api-Version"); version != "" {
		e.base += "/v" + version
	}
	var info struct {
		OSType, Architecture string
		DriverStatus         [][2]string
	}
	if err := e.get(ctx, "/info", &info); err != nil {
		return err
	}
	// What it calls its CPU is the kernel's name; one that mab does not know leaves the platform unknown.
	e.own, _ = platforms.Parse(info.OSType + "/" + info.Architecture)
	// https://docs.docker.com/engine/storage/containerd/
	e.indexes = !e.podman && slices.Contains(info.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"})
	return nil
}

// String names the engine, for messages.
func (e *Engine) String() string {
	if e.podman {
		return "podman at " + e.at.host
	}
	return "docker at " + e.at.host
}

// HoldsIndexes reports whether the engine keeps an index of several platforms, with attestations, as docker does with the containerd
// image store. Other engines keep the image of one platform.
func (e *Engine) HoldsIndexes() bool { return e.indexes }

// Platform is the engine's own, that of the containers it runs. Zero: unknown.
func (e *Engine) Platform() platforms.Platform { return e.own }

// Close gives the connections up.
func (e *Engine) Close() { e.http.CloseIdleConnections() }

func (e *Engine) get(ctx context.Context, path string, into any) error {
	resp, err := e.do(ctx, http.MethodGet, e.base+path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("reading its answer to %s: %w", path, err)
	}
	return nil
}

// do asks the engine. A refusal is an error with the engine's own words. The caller closes the body.
func (e *Engine) do(ctx context.Context, method, address string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-tar")
	}
	resp, err := e.http.Do(req)
	if err != nil {
		var wrapped *url.Error // its text repeats an address that means nothing to the user
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var said struct{ Message string }
	if json.Unmarshal(raw, &said) != nil || said.Message == "" {
		said.Message = strings.TrimSpace(string(raw))
	}
	return nil, fmt.Errorf("%s: %s", resp.Status, said.Message)
}
