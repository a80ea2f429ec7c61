// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// defaultTimeout is for reaching a node.
const defaultTimeout = 10 * time.Second

// dialDirect opens a connection to the solver behind a unix or tcp endpoint. It returns once that has said something, as HTTP/2 has a server do
// first (RFC 9113, section 3.4), so that one that is silent, or that refuses a certificate after the handshake as TLS 1.3 has it, is an error
// here. The files of TLS are read again each time.
func dialDirect(ctx context.Context, e Entry, cfg Config) (net.Conn, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	at, err := ParseURL(e.URL)
	if err != nil {
		return nil, err
	}
	guard, err := e.TLS.load(at.Host)
	if err != nil {
		return nil, &directError{e, err}
	}
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &silentError{timeout})
	defer cancel()
	network, address := "unix", at.Path
	if at.Kind == TCP {
		network, address = "tcp", at.Address()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, &directError{e, ended(ctx, err)}
	}
	out, err := greet(ctx, conn, guard)
	if err != nil {
		_ = conn.Close()
		return nil, &directError{e, ended(ctx, err)}
	}
	return out, nil
}

// ended is why the context ended, if that is what err is about.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// greet shakes hands, and waits for the first byte.
func greet(ctx context.Context, conn net.Conn, guard *tls.Config) (net.Conn, error) {
	// A deadline in the past ends what waits in the connection.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if guard != nil {
		secured := tls.Client(conn, guard)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secured
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return &greeted{conn, first}, nil
}

// greeted is a connection whose first byte was read already. Only one goroutine reads.
type greeted struct {
	net.Conn
	first []byte
}

func (g *greeted) Read(p []byte) (int, error) {
	if len(g.first) > 0 && len(p) > 0 {
		n := copy(p, g.first)
		g.first = g.first[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}

// load reads the files; nil without any.
func (t TLS) load(host string) (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil //nolint:nilnil // plain TCP
	}
	ca, err := readPEM("CA", t.CA)
	if err != nil {
		return nil, err
	}
	cert, err := readPEM("certificate", t.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readPEM("key", t.Key)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, &fileError{"CA", t.CA, errors.New("it holds no certificate")}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &fileError{"certificate", t.Cert, fmt.Errorf("with the key %q: %w", t.Key, err)}
	}
	if t.ServerName != "" {
		host = t.ServerName
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: host, NextProtos: []string{"h2"},
	}, nil
}

func readPEM(what, path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &fileError{what, path, cause(err)}
	}
	return text, nil
}

// fileError is a PEM file that cannot be used.
type fileError struct {
	what, path string
	err        error
}

func (e *fileError) Error() string {
	return fmt.Sprintf("reading the %s %q: %v", e.what, e.path, e.err)
}

// Unwrap gives the cause.
func (e *fileError) Unwrap() error { return e.err }

// silentError is a node that did not answer.
type silentError struct{ waited time.Duration }

func (e *silentError) Error() string { return fmt.Sprintf("it did not answer within %s", e.waited) }

// Timeout says what it is, as a net.Error.
func (*silentError) Timeout() bool { return true }

// directError is a solver that could not be reached, and why.
type directError struct {
	node Entry
	err  error
}

func (e *directError) Error() string {
	text := e.err.Error()
	var failed *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(e.err, io.EOF), errors.Is(e.err, io.ErrUnexpectedEOF), errors.Is(e.err, syscall.ECONNRESET):
		text = "it hung up before it said anything"
	case errors.As(e.err, &dns):
		text = dns.Error()
	case errors.As(e.err, &failed) && failed.Op == "dial":
		// The address is in the message already.
		text = failed.Err.Error()
	}
	if e.node.Name != e.node.URL {
		text = e.node.URL + ": " + text
	}
	return fmt.Sprintf("node %q: %s", e.node.Name, text)
}

// Unwrap gives the cause.
func (e *directError) Unwrap() error { return e.err }

// Lost reports true: another node may do.
func (*directError) Lost() bool { return true }

// Hint says what to look at.
func (e *directError) Hint() string {
	var (
		file     *fileError
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		expired  x509.CertificateInvalidError
		plain    tls.RecordHeaderError
		rejected *net.OpError
	)
	at, _ := ParseURL(e.node.URL)
	switch {
	case errors.As(e.err, &file):
		return "ca, cert and key are PEM files: of the CA that signed the solver's certificate, of a certificate that the solver's CA signed, and of its key"
	case errors.As(e.err, &unknown):
		return "name the CA that signed the solver's certificate: --tlscacert FILE, or ?ca=FILE"
	case errors.As(e.err, &name):
		return "name it as its certificate does: --tls-server-name NAME, or &servername=NAME"
	case errors.As(e.err, &expired):
		return "look at the dates of its certificate, and at the clocks: openssl x509 -noout -dates -in FILE"
	case errors.As(e.err, &plain):
		return "it speaks no TLS there: is it the right port?"
	case errors.As(e.err, &rejected) && rejected.Op == "remote error":
		return "the solver does not take this certificate: its CA must have signed it, and it must be for clients and not have ended"
	case errors.Is(e.err, fs.ErrPermission):
		return "become a member of the group that owns the socket, or have it served to another: mab serve --addr unix://PATH --group NAME"
	case at.Kind == Unix && (errors.Is(e.err, fs.ErrNotExist) || errors.Is(e.err, syscall.ECONNREFUSED)):
		return "start the solver that listens there: mab serve --addr " + e.node.URL + ", or buildkitd --addr " + e.node.URL
	case at.Kind == TCP && e.node.TLS == (TLS{}) && !errors.Is(e.err, syscall.ECONNREFUSED):
		return "if it wants TLS, give certificates: --tlscacert, --tlscert and --tlskey of mab nodes add, or ?ca=FILE&cert=FILE&key=FILE"
	}
	return "see that a solver listens there, and that no firewall is between; where only SSH gets through: ssh://HOST"
}
