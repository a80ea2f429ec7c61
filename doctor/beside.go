// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// agent is what SSH_AUTH_SOCK leads to.
type agent struct {
	socket string
	keys   int
	err    error
}

func lookAtAgent(ctx context.Context) []Check {
	a := agent{socket: os.Getenv("SSH_AUTH_SOCK")}
	if a.socket != "" {
		a.keys, a.err = countKeys(ctx, a.socket)
	}
	return []Check{judgeAgent(a)}
}

// countKeys asks an agent for its keys: SSH_AGENTC_REQUEST_IDENTITIES and SSH_AGENT_IDENTITIES_ANSWER of
// https://datatracker.ietf.org/doc/html/draft-miller-ssh-agent.
func countKeys(ctx context.Context, socket string) (int, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return 0, err
		}
	}
	const request, reply = 11, 12
	if _, err := conn.Write([]byte{0, 0, 0, 1, request}); err != nil {
		return 0, err
	}
	var head struct {
		Size uint32
		Kind byte
		Keys uint32
	}
	if err := binary.Read(conn, binary.BigEndian, &head); err != nil {
		return 0, fmt.Errorf("it gave no list of keys: %w", err)
	}
	if head.Kind != reply {
		return 0, errors.New("it gave no list of keys")
	}
	return int(head.Keys), nil
}

func judgeAgent(a agent) Check {
	out := Check{Name: "ssh agent", Status: OK}
	const then, mend = "--ssh and RUN --mount=type=ssh have no keys", `eval "$(ssh-agent)" && ssh-add`
	switch {
	case a.socket == "":
		out.Found = "none; only --ssh and RUN --mount=type=ssh need one: " + mend
	case a.err != nil:
		out.Status, out.Then, out.Mend = Limited, then, mend
		out.Found = fmt.Sprintf("SSH_AUTH_SOCK is %s, but no agent answers there: %v", a.socket, a.err)
	case a.keys == 0:
		out.Status, out.Then, out.Mend = Limited, then, "ssh-add"
		out.Found = "no keys at " + a.socket
	case a.keys == 1:
		out.Found = "1 key at " + a.socket
	default:
		out.Found = fmt.Sprintf("%d keys at %s", a.keys, a.socket)
	}
	return out
}

func lookAtGit(ctx context.Context) []Check {
	path, err := exec.LookPath("git")
	if err != nil {
		return []Check{judgeGit("", "")}
	}
	said, _ := exec.CommandContext(ctx, path, "--version").Output() // Without an answer it is there, but says nothing.
	return []Check{judgeGit(path, string(said))}
}

func judgeGit(path, said string) Check {
	if path == "" {
		return Check{
			Name: "git", Status: Limited, Found: "none in PATH", Then: "a context or ADD from a git repository fails",
			Mend: "install git (Debian, Ubuntu: sudo apt-get install git)",
		}
	}
	version := strings.TrimPrefix(strings.TrimSpace(said), "git version ")
	return Check{Name: "git", Status: OK, Found: strings.TrimSpace(version + " at " + path)}
}

// engine is a Docker or podman service.
type engine struct {
	// address is as in DOCKER_HOST. Empty: there is none.
	address       string
	name, version string
	err           error
}

// engineAddresses are where an engine listens: $DOCKER_HOST alone, or the sockets of Docker and podman, the user's own before the system's.
func engineAddresses(env func(string) string) []string {
	if host := env("DOCKER_HOST"); host != "" {
		return []string{host}
	}
	var out []string
	if dir := env("XDG_RUNTIME_DIR"); dir != "" {
		out = []string{"unix://" + filepath.Join(dir, "docker.sock"), "unix://" + filepath.Join(dir, "podman/podman.sock")}
	}
	return append(out, "unix:///var/run/docker.sock", "unix:///run/podman/podman.sock")
}

func lookAtEngine(ctx context.Context) []Check {
	var seen engine
	for _, address := range engineAddresses(os.Getenv) {
		e := askEngine(ctx, address)
		if errors.Is(e.err, fs.ErrNotExist) && os.Getenv("DOCKER_HOST") == "" {
			continue
		}
		if seen.address == "" || e.err == nil {
			seen = e
		}
		if e.err == nil {
			break
		}
	}
	return []Check{judgeEngine(seen)}
}

var errForeign = errors.New("not looked at")

// askEngine asks for the version: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/System/operation/SystemVersion,
// which podman answers too.
func askEngine(ctx context.Context, address string) engine {
	out := engine{address: address}
	network, target, _ := strings.Cut(address, "://")
	if network != "unix" && network != "tcp" {
		out.err = errForeign
		return out
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, target)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/version", nil)
	if err != nil {
		out.err = err
		return out
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		out.err = errors.Unwrap(err)
		return out
	}
	defer func() { _ = resp.Body.Close() }()
	var version struct {
		Version    string
		Components []struct{ Name string }
	}
	const most = 1 << 20
	if out.err = json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(&version); out.err != nil {
		return out
	}
	out.name, out.version = "Docker", version.Version
	if len(version.Components) > 0 && strings.HasPrefix(version.Components[0].Name, "Podman") {
		out.name = "podman"
	}
	return out
}

func judgeEngine(e engine) Check {
	out := Check{Name: "engine", Status: OK}
	switch {
	case e.address == "":
		out.Found = "neither Docker nor podman; only loading an image into one needs it"
	case errors.Is(e.err, errForeign):
		out.Found = "DOCKER_HOST is " + e.address + ", which is not looked at"
	case errors.Is(e.err, fs.ErrPermission):
		out.Status, out.Found = Limited, e.address+" does not let this user in"
		out.Then, out.Mend = "no image can be loaded into it", "sudo usermod -aG docker $USER, and log in again"
	case e.err != nil:
		out.Status, out.Found = Limited, fmt.Sprintf("no engine answers at %s: %v", e.address, e.err)
		out.Then, out.Mend = "no image can be loaded into it", "start it, or unset DOCKER_HOST"
	default:
		out.Found = fmt.Sprintf("%s %s at %s", e.name, e.version, e.address)
	}
	return out
}
