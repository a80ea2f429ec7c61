// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"
)

// spec names an SSH server as a user does. Zero fields are left to the files.
type spec struct {
	user, host string
	port       int
}

// hop is an SSH server with all that the user's files say of the way to it.
type hop struct {
	spec
	// name is what the user calls it, principal the name in its certificate, known its name in known_hosts, bare that without port or empty.
	name, principal, known, bare string
	// network is tcp, tcp4 or tcp6.
	network string
	timeout time.Duration
	// jumps are the servers before this one, and command the program that connects to it; at most one of them.
	jumps   []spec
	command string
	// keys and certificates are files; named is whether the user named the keys, only whether the agent may have no others.
	keys, certificates []string
	named, only        bool
	// agent is the path of its socket; empty: none.
	agent string
	// users and globals are known_hosts files, strict what to do with unknown keys, hashed whether names are stored so.
	users, globals []string
	strict         string
	hashed         bool
}

func (h hop) address() string { return net.JoinHostPort(h.host, strconv.Itoa(h.port)) }

// String is user@host:port.
func (h hop) String() string { return h.user + "@" + h.address() }

// place is the machine and the account that files are read for.
type place struct {
	home, user string
	getenv     func(string) string
}

// newHop gives the values of the user's files their types.
func newHop(s settings, to spec, at place) (hop, error) {
	h := hop{spec: to, name: to.host, strict: s.flag("stricthostkeychecking"), hashed: s.flag("hashknownhosts") == "yes",
		only: s.flag("identitiesonly") == "yes", network: "tcp"}
	if h.user == "" {
		h.user = s.value("user")
	}
	if h.user == "" {
		h.user = at.user
	}
	if err := h.where(s); err != nil {
		return hop{}, err
	}
	for _, err := range []error{validName("host", h.host), validName("user", h.user)} {
		if err != nil {
			return hop{}, err
		}
	}
	if err := h.way(s); err != nil {
		return hop{}, err
	}
	return h, h.paths(s, at)
}

// where fills in the address and the names in known_hosts.
func (h *hop) where(s settings) error {
	if to := s.value("hostname"); to != "" {
		host, err := expand(to, map[byte]string{'h': h.host})
		if err != nil {
			return fmt.Errorf("reading HostName %q: %w", to, err)
		}
		h.host = host
	}
	if port := s.value("port"); h.port == 0 && port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("reading Port %q: not a port", port)
		}
		h.port = int(n)
	}
	if h.port == 0 {
		h.port = 22
	}
	h.principal = strings.ToLower(h.host)
	h.known = knownhosts.Normalize(net.JoinHostPort(h.principal, strconv.Itoa(h.port)))
	if h.port != 22 {
		h.bare = h.principal
	}
	if alias := s.value("hostkeyalias"); alias != "" {
		h.known = strings.ToLower(alias)
		h.principal, h.bare = h.known, ""
	}
	switch s.flag("addressfamily") {
	case "inet":
		h.network = "tcp4"
	case "inet6":
		h.network = "tcp6"
	}
	return nil
}

// way fills in how the connection is made.
func (h *hop) way(s settings) error {
	if seconds := s.flag("connecttimeout"); seconds != "" && seconds != "none" {
		n, err := strconv.ParseUint(seconds, 10, 31)
		if err != nil {
			if h.timeout, err = time.ParseDuration(seconds); err != nil || h.timeout < 0 {
				return fmt.Errorf("reading ConnectTimeout %q: not a number of seconds", seconds)
			}
		} else {
			h.timeout = time.Duration(n) * time.Second
		}
	}
	if jump := s.value("proxyjump"); jump != "" && !strings.EqualFold(jump, "none") {
		for text := range strings.SplitSeq(jump, ",") {
			to, err := parseSpec(strings.TrimSpace(text))
			if err != nil {
				return fmt.Errorf("reading ProxyJump %q: %w", jump, err)
			}
			h.jumps = append(h.jumps, to)
		}
	}
	if command := s.value("proxycommand"); command != "" && !strings.EqualFold(command, "none") {
		if s.flag("proxyusefdpass") == "yes" {
			return fmt.Errorf("the ProxyCommand of %s hands over a descriptor (ProxyUseFdpass), which mab cannot take", h.name)
		}
		line, err := expand(command, map[byte]string{'h': h.host, 'n': h.name, 'p': strconv.Itoa(h.port), 'r': h.user})
		if err != nil {
			return fmt.Errorf("reading ProxyCommand %q: %w", command, err)
		}
		h.command = line
	}
	return nil
}

// paths fills in the files of keys and known hosts, and the agent.
func (h *hop) paths(s settings, at place) error {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "localhost"
	}
	short, _, _ := strings.Cut(hostname, ".")
	tokens := map[byte]string{'d': at.home, 'h': h.host, 'k': h.known, 'L': short, 'l': hostname, 'n': h.name,
		'i': strconv.Itoa(os.Getuid()), 'p': strconv.Itoa(h.port), 'r': h.user, 'u': at.user}
	var failures []error
	path := func(text string) string {
		p, err := at.path(text, tokens)
		if err != nil {
			failures = append(failures, fmt.Errorf("reading the path %q: %w", text, err))
		}
		return p
	}
	list := func(values [][]string, defaults ...string) []string {
		if len(values) == 0 {
			values = [][]string{defaults}
		}
		var paths []string
		for _, text := range slices.Concat(values...) {
			if p := path(text); !strings.EqualFold(text, "none") && !slices.Contains(paths, p) {
				paths = append(paths, p)
			}
		}
		return paths
	}
	h.named = s["identityfile"] != nil
	h.keys = list(s["identityfile"], "~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519", "~/.ssh/id_ed25519_sk")
	h.certificates = list(s["certificatefile"])
	h.users = list(s["userknownhostsfile"], "~/.ssh/known_hosts", "~/.ssh/known_hosts2")
	h.globals = list(s["globalknownhostsfile"], "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
	switch socket := s.value("identityagent"); {
	case socket == "", socket == "SSH_AUTH_SOCK":
		h.agent = at.getenv("SSH_AUTH_SOCK")
		if h.agent == "" && runtime.GOOS == "windows" {
			h.agent = `\\.\pipe\openssh-ssh-agent`
		}
	case strings.EqualFold(socket, "none"):
	case strings.HasPrefix(socket, "$") && !strings.HasPrefix(socket, "${"):
		h.agent = at.getenv(socket[1:])
	default:
		h.agent = path(socket)
	}
	return errors.Join(failures...)
}

// path replaces ~, ${VARIABLE} and the tokens of text.
func (at place) path(text string, tokens map[byte]string) (string, error) {
	switch {
	case text == "~":
		return at.home, nil
	case strings.HasPrefix(text, "~/"):
		text = strings.ReplaceAll(at.home, "%", "%%") + text[1:]
	case strings.HasPrefix(text, "~"):
		return "", errors.New("homes of other users are not looked up")
	}
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(text, "${")
		out.WriteString(before)
		if !ok {
			break
		}
		name, rest, ok := strings.Cut(after, "}")
		if !ok {
			return "", errors.New("${ has no }")
		}
		value := at.getenv(name)
		if value == "" {
			return "", fmt.Errorf("the environment has no %s", name)
		}
		out.WriteString(strings.ReplaceAll(value, "%", "%%"))
		text = rest
	}
	expanded, err := expand(out.String(), tokens)
	if err != nil || expanded == "" {
		return expanded, err
	}
	return filepath.Clean(expanded), nil
}

// expand replaces %x by the token x, and %% by %.
func expand(text string, tokens map[byte]string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			out.WriteByte(text[i])
			continue
		}
		i++
		switch {
		case i == len(text):
			return "", errors.New("it ends with %")
		case text[i] == '%':
			out.WriteByte('%')
		default:
			value, ok := tokens[text[i]]
			if !ok {
				return "", fmt.Errorf("%%%c stands for nothing here", text[i])
			}
			out.WriteString(value)
		}
	}
	return out.String(), nil
}

// parseSpec reads [user@]host[:port] or the same as an ssh URL.
func parseSpec(text string) (spec, error) {
	rest := strings.TrimSuffix(strings.TrimPrefix(text, "ssh://"), "/")
	var to spec
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		to.user, rest = rest[:at], rest[at+1:]
	}
	to.host = rest
	if host, port, err := net.SplitHostPort(rest); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return spec{}, fmt.Errorf("%q is not a port", port)
		}
		to.host, to.port = host, int(n)
	}
	to.host = strings.TrimSuffix(strings.TrimPrefix(to.host, "["), "]")
	return to, validName("host", to.host)
}

// validName refuses what a shell could take for more than a name, since it may become part of a ProxyCommand (ssh.c of OpenSSH does the same).
func validName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s has no name", what)
	case strings.HasPrefix(name, "-"):
		return fmt.Errorf("the name of %s %q begins with a dash", what, name)
	case strings.ContainsAny(name, "'`\"$\\;&<>|(){}") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("the name of %s %q has characters that no %s has", what, name, what)
	}
	return nil
}
