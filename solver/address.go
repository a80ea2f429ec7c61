// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Listening says where a solver serves others, beside the socket of its state, and how they show who they are. Whoever gets in can do what
// the solver can. The zero value serves nobody else.
type Listening struct {
	// Addresses are unix://PATH or tcp://HOST:PORT.
	Addresses []string
	// TLS guards every tcp address. Without it, only addresses of the loopback are served.
	TLS TLS
	// UID and GID own the unix sockets; a GID opens them to its members. Nil: they are their owner's alone.
	UID, GID *int
}

// TLS are the PEM files of mutual TLS: the server's certificate with its key, and the CA of the clients' certificates. They are read again
// for each connection, so that renewed ones count at once.
type TLS struct{ Cert, Key, CA string }

// address is one of Listening's, understood.
type address struct {
	network string // unix or tcp
	at      string // a path, or host:port
}

const addressHint = "write unix:///PATH or tcp://HOST:PORT"

func parseAddress(s string) (address, error) {
	network, at, ok := strings.Cut(s, "://")
	a := address{network, at}
	switch {
	case ok && network == "unix" && filepath.IsAbs(at) && len(at) <= maxSocketPath:
		return a, nil
	case ok && network == "tcp":
		if host, port, err := net.SplitHostPort(at); err == nil && port != "" && !strings.Contains(host, "/") {
			return a, nil
		}
	}
	return address{}, &usageError{"the address " + quote(s), addressHint}
}

// loopback reports whether only this machine reaches the address, by its name alone.
func (a address) loopback() bool {
	host, _, err := net.SplitHostPort(a.at)
	if err != nil {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return host == "localhost"
}

// Check finds what is wrong before anything is started: an address that is none, TLS that is not complete, and a tcp address that strangers
// could reach. It reads the files of TLS. Its errors have a Hint.
func (l Listening) Check() error {
	given := l.TLS != TLS{}
	if given {
		if _, err := l.TLS.load(); err != nil {
			return err
		}
	}
	for _, s := range l.Addresses {
		a, err := parseAddress(s)
		if err != nil {
			return err
		}
		if a.network == "tcp" && !given && !a.loopback() {
			return &openError{s}
		}
	}
	return nil
}

// Open lists the addresses that every user of this machine can reach, and build on.
func (l Listening) Open() []string {
	var out []string
	for _, s := range l.Addresses {
		if a, err := parseAddress(s); err == nil && a.network == "tcp" && l.TLS == (TLS{}) {
			out = append(out, s)
		}
	}
	return out
}

// openError is a tcp address that everybody could use.
type openError struct{ address string }

func (e *openError) Error() string {
	return fmt.Sprintf("serving on %q: without TLS whoever reaches it could run programs here", e.address)
}

// Hint names the two ways to close it.
func (*openError) Hint() string {
	return "give --tlscert, --tlskey and --tlscacert (docs/serve.md shows how to make them), or serve on the loopback and let ssh -L reach it: --addr tcp://127.0.0.1:PORT"
}

// Usage marks the error as the user's, for the exit code.
func (*openError) Usage() bool { return true }

// load reads the files.
func (t TLS) load() (*tls.Config, error) {
	for _, f := range []struct{ name, path string }{{"--tlscert", t.Cert}, {"--tlskey", t.Key}, {"--tlscacert", t.CA}} {
		if f.path == "" {
			return nil, &tlsError{errors.New(f.name + " is missing"), "mutual TLS takes all three: --tlscert, --tlskey and --tlscacert, or cert, key and ca of [grpc.tls]"}
		}
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, &tlsError{fmt.Errorf("reading %q and its key: %w", t.Cert, err), "name PEM files of a certificate and of the key that belongs to it"}
	}
	text, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, &tlsError{err, "name the PEM file of the CA that signs the clients' certificates"}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &tlsError{fmt.Errorf("%q holds no certificate", t.CA), "name the PEM file of the CA that signs the clients' certificates"}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}, nil
}

type tlsError struct {
	err  error
	hint string
}

func (e *tlsError) Error() string { return "setting up TLS: " + e.err.Error() }

// Unwrap gives the cause.
func (e *tlsError) Unwrap() error { return e.err }

// Hint says what is to be named.
func (e *tlsError) Hint() string { return e.hint }

// Usage marks the error as the user's, for the exit code.
func (*tlsError) Usage() bool { return true }
