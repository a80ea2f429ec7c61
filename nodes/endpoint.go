// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// Kind is the way to a node: Local or one of these.
type Kind string

// The kinds of endpoints of other machines, and of solvers that somebody else runs.
const (
	SSH     Kind = "ssh"      // mab is brought there
	SSHUnix Kind = "ssh+unix" // a buildkitd's socket on the far side
	Unix    Kind = "unix"     // a buildkitd's socket here
	TCP     Kind = "tcp"      // a buildkitd's port
)

// Endpoint is where a node is, as its URL says. Its zero value is nowhere.
type Endpoint struct {
	Kind Kind
	// User and Port are empty and 0 if the URL has none: then ssh's configuration decides.
	User string
	// Host is a name or an address; one of IPv6 is without brackets.
	Host string
	Port int
	// Path is absolute, and that of a socket.
	Path string
}

// maxSocketPath is what sun_path of struct sockaddr_un holds beside its NUL: unix(7).
const maxSocketPath = 107

const urlHint = "write local, ssh://[USER@]HOST[:PORT], ssh+unix://[USER@]HOST[:PORT]/PATH, unix:///PATH or tcp://HOST:PORT"

// elsewhere are the schemes that users of other tools know.
var elsewhere = map[string]string{
	"docker":            "",
	"docker-container":  "",
	"kube":              "",
	"kubernetes":        "",
	"kube-pod":          "",
	"podman-container":  "",
	"nerdctl-container": "",
	"http":              "tcp://",
	"https":             "tcp://",
	"grpc":              "tcp://",
	"ssh+tcp":           "ssh://",
}

// ParseURL understands an endpoint. Its errors have a Hint, count as wrong use, and show no password.
func ParseURL(s string) (Endpoint, error) {
	if s == Local {
		return Endpoint{Kind: Local}, nil
	}
	wrong := func(what, hint string) (Endpoint, error) {
		return Endpoint{}, &inputError{"understanding the node " + strconv.Quote(redact(s)) + ": " + what, hint}
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		hint := urlHint
		if bare := (parser{scheme: SSH}); bare.parse(s) == "" {
			hint = "did you mean: ssh://" + s
		}
		return wrong("it is no URL", hint)
	}
	if instead, known := elsewhere[scheme]; known {
		if instead != "" {
			return wrong("there are no nodes by "+scheme, "did you mean: "+instead+rest)
		}
		return wrong("nodes by "+scheme+" are not there yet", "have a buildkitd listen there, and name it: unix:///PATH, tcp://HOST:PORT or ssh+unix://HOST/PATH")
	}
	p := parser{scheme: Kind(scheme), hint: urlHint}
	if what := p.parse(rest); what != "" {
		return wrong(what, p.hint)
	}
	return p.out, nil
}

// parser takes a URL apart. What is wrong is a text, empty if nothing is.
type parser struct {
	scheme Kind
	out    Endpoint
	hint   string
}

func (p *parser) parse(rest string) string {
	p.out = Endpoint{Kind: p.scheme}
	if strings.ContainsFunc(rest, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return "it has characters that cannot be printed"
	}
	switch p.scheme {
	case Unix:
		return p.path(rest)
	case SSH, SSHUnix, TCP:
	default:
		return "there are no nodes by " + string(p.scheme)
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if what := p.authority(authority); what != "" {
		return what
	}
	switch {
	case p.scheme == SSHUnix:
		return p.path(tail)
	case strings.HasPrefix(tail, "?"), strings.HasPrefix(tail, "#"):
		return "it goes on after the host with " + strconv.Quote(tail)
	case p.scheme == SSH && tail != "" && tail != "/":
		p.hint = "for mab's own solver: ssh://" + authority + "; for a buildkitd that listens there: ssh+unix://" + authority + tail
		return "it has a path"
	case tail != "" && tail != "/":
		p.hint = "did you mean: " + string(p.scheme) + "://" + authority
		return "it has a path"
	}
	return ""
}

func (p *parser) authority(s string) string {
	host := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		host = s[i+1:]
		if what := p.user(s[:i], host); what != "" {
			return what
		}
	}
	if strings.HasPrefix(host, "[") {
		return p.bracketed(host)
	}
	if _, err := netip.ParseAddr(host); err == nil && strings.Contains(host, ":") {
		p.hint = "an IPv6 address goes in brackets: " + string(p.scheme) + "://" + s[:len(s)-len(host)] + "[" + host + "]"
		return "it has many colons"
	}
	name, port, hasPort := strings.Cut(host, ":")
	if what := hostName(name); what != "" {
		return what
	}
	p.out.Host = name
	return p.port(port, hasPort)
}

// bracketed takes an IPv6 address, and what follows it.
func (p *parser) bracketed(s string) string {
	host, rest, closed := strings.Cut(s[1:], "]")
	if !closed {
		return "a bracket is not closed"
	}
	port, hasPort := strings.CutPrefix(rest, ":")
	if !hasPort && rest != "" {
		return "after the bracket comes " + strconv.Quote(rest)
	}
	address, err := netip.ParseAddr(strings.Replace(host, "%25", "%", 1))
	if err != nil || !address.Is6() {
		return strconv.Quote(host) + " is no IPv6 address"
	}
	p.out.Host = address.String()
	return p.port(port, hasPort)
}

// user takes a login name. In the URL of a TCP port it would mean nothing.
func (p *parser) user(s, host string) string {
	if strings.Contains(s, ":") {
		p.hint = "leave it out, and log in by a key: ssh-copy-id puts one on the machine"
		if p.scheme == TCP {
			p.hint = "mutual TLS shows who one is: --tlscacert, --tlscert and --tlskey of mab nodes add"
		}
		return "it holds a password"
	}
	name, err := url.PathUnescape(s)
	switch {
	case p.scheme == TCP:
		p.hint = "did you mean: tcp://" + host + ", or ssh://" + s + "@" + host
		return "there are no users by tcp"
	case err != nil || name == "" || name[0] == '-' || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }):
		return strconv.Quote(s) + " is no user's name"
	}
	p.out.User = name
	return ""
}

func hostName(s string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-+", r)
	}
	switch {
	case s == "":
		return "it names no host"
	case s[0] == '-' || strings.ContainsFunc(s, odd):
		return strconv.Quote(s) + " is no host's name"
	}
	return ""
}

func (p *parser) port(s string, given bool) string {
	if !given {
		if p.scheme == TCP {
			p.hint = "add the port that the solver listens on, as in tcp://" + p.out.address(1234)
			return "it has no port"
		}
		return ""
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		p.hint = "write a number from 1 to 65535 after the colon"
		return strconv.Quote(s) + " is no port"
	}
	p.out.Port = int(n)
	return ""
}

func (p *parser) path(s string) string {
	switch {
	case s == "" || s == "/" || strings.HasSuffix(s, "/"):
		p.hint = "add the path of the solver's socket, as in " + string(p.scheme) + "://" + p.out.shown() + "/run/buildkit/buildkitd.sock"
		return "it names no socket"
	case !path.IsAbs(s):
		p.hint = "write the whole path, with three slashes: unix:///" + s
		return "its path is not absolute"
	case len(s) > maxSocketPath:
		p.hint = "have the solver listen at a shorter path"
		return "its path is longer than the " + strconv.Itoa(maxSocketPath) + " bytes that a socket's may have"
	}
	p.out.Path = s
	return ""
}

// String is the URL, in the one way to write it: ParseURL gives the same endpoint for it.
func (e Endpoint) String() string {
	switch e.Kind {
	case "", Local:
		return string(e.Kind)
	case Unix:
		return "unix://" + e.Path
	}
	return string(e.Kind) + "://" + e.shown() + e.Path
}

// shown is the part of a URL between its scheme and its path.
func (e Endpoint) shown() string {
	out := e.Host
	if e.Port != 0 {
		out = e.address(e.Port)
	} else if strings.Contains(out, ":") {
		out = "[" + out + "]"
	}
	out = strings.Replace(out, "%", "%25", 1)
	if e.User != "" {
		out = url.User(e.User).String() + "@" + out
	}
	return out
}

func (e Endpoint) address(port int) string { return net.JoinHostPort(e.Host, strconv.Itoa(port)) }

// Address is HOST:PORT of a TCP endpoint, as package net takes it.
func (e Endpoint) Address() string { return e.address(e.Port) }

// loopback reports whether only this machine reaches the endpoint, by its name alone.
func (e Endpoint) loopback() bool {
	if ip, err := netip.ParseAddr(e.Host); err == nil {
		return ip.IsLoopback()
	}
	return e.Host == "localhost"
}

// redact hides what might be a password.
func redact(s string) string {
	start := 0
	if i := strings.Index(s, "://"); i >= 0 {
		start = i + len("://")
	}
	at := strings.LastIndexByte(s, '@')
	if at < start {
		return s
	}
	if colon := strings.IndexByte(s[start:at], ':'); colon >= 0 {
		return s[:start+colon] + ":…" + s[at:]
	}
	return s
}

// inputError is something that the user wrote and that cannot be.
type inputError struct{ text, hint string }

func (e *inputError) Error() string { return e.text }

// Hint says what to write.
func (e *inputError) Hint() string { return e.hint }

// Usage marks the error as the user's, for the exit code.
func (*inputError) Usage() bool { return true }
