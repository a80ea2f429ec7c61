// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	number "math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/nodes"
)

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// file is where a PEM is: NAME.pem and NAME-key.pem.
func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

func (a *authority) sign(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = number.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore = time.Now().Add(-2 * time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name, "CERTIFICATE", raw)
	a.write(name+"-key", "EC PRIVATE KEY", text)
	out, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return out, key
}

func (a *authority) write(name, kind string, raw []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) server(until time.Time) tls.Certificate {
	a.t.Helper()
	a.sign("server", &x509.Certificate{DNSNames: []string{"build.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	out, err := tls.LoadX509KeyPair(a.file("server"), a.file("server-key"))
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// client makes a certificate and returns the files of a node.
func (a *authority) client(name string) nodes.TLS {
	a.sign(name, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return nodes.TLS{CA: a.file("ca"), Cert: a.file(name), Key: a.file(name + "-key")}
}

// greeting is an empty SETTINGS frame: https://www.rfc-editor.org/rfc/rfc9113#section-3.4
const greeting = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// serve has do answer each connection, in turn, until the test ends.
func serve(t *testing.T, l net.Listener, do func(net.Conn)) {
	t.Helper()
	var group errgroup.Group
	group.Go(func() error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return nil //nolint:nilerr // the test ends
			}
			do(conn)
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		_ = group.Wait()
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// greet greets, and sends back what comes.
func greet(conn net.Conn) {
	if _, err := io.WriteString(conn, greeting); err == nil {
		_, _ = io.Copy(conn, conn)
	}
}

func socket(t *testing.T) string {
	t.Helper()
	// A socket's path is short, t.TempDir's is not.
	dir, err := os.MkdirTemp("", "mab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func TestDirect(t *testing.T) {
	ours := newAuthority(t)
	mutual := &tls.Config{Certificates: []tls.Certificate{ours.server(time.Time{})}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	mutual.ClientCAs.AddCert(ours.cert)
	guarded := listen(t, "tcp", "127.0.0.1:0")
	serve(t, tls.NewListener(guarded, mutual), greet)
	plain := listen(t, "tcp", "127.0.0.1:0")
	serve(t, plain, greet)
	path := socket(t)
	serve(t, listen(t, "unix", path), greet)
	named := ours.client("second")
	named.ServerName = "build.example"
	for _, test := range []struct {
		rule string
		node nodes.Entry
	}{
		{"a socket", nodes.Entry{Name: "n", URL: "unix://" + path}},
		{"a port of the loopback", nodes.Entry{Name: "n", URL: "tcp://" + plain.Addr().String()}},
		{"mutual TLS", nodes.Entry{Name: "n", URL: "tcp://" + guarded.Addr().String(), TLS: ours.client("first")}},
		{"mutual TLS by another name", nodes.Entry{Name: "n", URL: "tcp://" + guarded.Addr().String(), TLS: named}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			reached, err := nodes.Reach(t.Context(), test.node, nodes.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = reached.Close() }()
			conn, err := reached.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, "hello"); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(greeting)+len("hello"))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != greeting+"hello" {
				t.Errorf("error %v; got %q", err, got)
			}
		})
	}
}

// TestDirectReadsFilesAnew has a client whose certificate is replaced.
func TestDirectReadsFilesAnew(t *testing.T) {
	ours := newAuthority(t)
	var shown []string
	serverSide := &tls.Config{Certificates: []tls.Certificate{ours.server(time.Time{})}, ClientAuth: tls.RequireAnyClientCert,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			cert, err := x509.ParseCertificate(raw[0])
			if err == nil {
				shown = append(shown, cert.Subject.CommonName)
			}
			return err
		}}
	l := listen(t, "tcp", "127.0.0.1:0")
	serve(t, tls.NewListener(l, serverSide), greet)
	files := ours.client("old")
	for _, name := range []string{"old", "new"} {
		renewed := ours.client(name)
		if err := errors.Join(os.Rename(renewed.Cert, files.Cert), os.Rename(renewed.Key, files.Key)); err != nil {
			t.Fatal(err)
		}
		reached, err := nodes.Reach(t.Context(), nodes.Entry{Name: "n", URL: "tcp://" + l.Addr().String(), TLS: files}, nodes.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := reached.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(shown, " ") != "old new" {
		t.Errorf("shown: %q", shown)
	}
}

func TestDirectFailures(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	mutual := func(until time.Time) *tls.Config {
		pool := x509.NewCertPool()
		pool.AddCert(ours.cert)
		return &tls.Config{Certificates: []tls.Certificate{ours.server(until)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	}
	good, stranger := ours.client("good"), theirs.client("stranger")
	stranger.CA = good.CA
	with := func(do func(*nodes.TLS)) nodes.TLS {
		out := good
		do(&out)
		return out
	}
	if err := os.WriteFile(ours.file("empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tcp := func(c *tls.Config, do func(net.Conn)) func(*testing.T) string {
		return func(t *testing.T) string {
			l := listen(t, "tcp", "127.0.0.1:0")
			url := "tcp://" + l.Addr().String()
			if c != nil {
				l = tls.NewListener(l, c)
			}
			serve(t, l, do)
			return url
		}
	}
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	path := socket(t)
	const short = 300 * time.Millisecond
	for _, test := range []struct {
		rule       string
		url        func(*testing.T) string
		tls        nodes.TLS
		timeout    time.Duration
		what, hint string
	}{
		{"no socket", func(*testing.T) string { return "unix://" + path }, nodes.TLS{}, 0, "no such file or directory", "mab serve --addr unix://" + path},
		{"a socket that nobody serves", func(t *testing.T) string {
			l := listen(t, "unix", path+"2").(*net.UnixListener)
			l.SetUnlinkOnClose(false)
			_ = l.Close()
			return "unix://" + path + "2"
		}, nodes.TLS{}, 0, "connection refused", "start the solver that listens there"},
		{"nobody at the port", func(t *testing.T) string {
			l := listen(t, "tcp", "127.0.0.1:0")
			_ = l.Close()
			return "tcp://" + l.Addr().String()
		}, nodes.TLS{}, 0, "connection refused", "see that a solver listens there"},
		{"one that is silent", tcp(nil, silent), nodes.TLS{}, short, "it did not answer within 300ms", "if it wants TLS"},
		{"one that is silent instead of TLS", tcp(nil, silent), good, short, "it did not answer within 300ms", "no firewall is between"},
		{"one that hangs up", tcp(nil, func(net.Conn) {}), nodes.TLS{}, 0, "it hung up before it said anything", "if it wants TLS, give certificates"},
		{"one that wants TLS", tcp(mutual(time.Time{}), greet), nodes.TLS{}, short, "it did not answer within 300ms", "if it wants TLS, give certificates"},
		{"one without TLS", tcp(nil, greet), good, 0, "first record does not look like a TLS handshake", "it speaks no TLS there"},
		{"a client of another CA", tcp(mutual(time.Time{}), greet), stranger, 0, "remote error: tls: ", "the solver does not take this certificate"},
		{"a server of another CA", tcp(mutual(time.Time{}), greet), with(func(c *nodes.TLS) { c.CA = theirs.file("ca") }), 0, "certificate signed by unknown authority", "--tlscacert FILE"},
		{"another name", tcp(mutual(time.Time{}), greet), with(func(c *nodes.TLS) { c.ServerName = "other.example" }), 0, "not other.example", "--tls-server-name NAME"},
		{"a certificate that ended", tcp(mutual(time.Now().Add(-time.Hour)), greet), good, 0, "certificate has expired", "look at the dates"},
		{"no CA", tcp(nil, greet), with(func(c *nodes.TLS) { c.CA = "/nowhere/ca.pem" }), 0, `reading the CA "/nowhere/ca.pem": no such file`, "ca, cert and key are PEM files"},
		{"an empty CA", tcp(nil, greet), with(func(c *nodes.TLS) { c.CA = ours.file("empty") }), 0, "empty.pem\": it holds no certificate", "PEM files"},
		{"no certificate", tcp(nil, greet), with(func(c *nodes.TLS) { c.Cert = "/nowhere/cert.pem" }), 0, `reading the certificate "/nowhere/cert.pem"`, "PEM files"},
		{"no key", tcp(nil, greet), with(func(c *nodes.TLS) { c.Key = "/nowhere/key.pem" }), 0, `reading the key "/nowhere/key.pem"`, "PEM files"},
		{"the key of another", tcp(nil, greet), with(func(c *nodes.TLS) { c.Key = ours.file("server-key") }), 0, "private key does not match", "PEM files"},
		{"plain TCP to elsewhere", func(*testing.T) string { return "tcp://192.0.2.1:1" }, nodes.TLS{}, 0, "whoever is between could run programs there", "ssh+unix://HOST/PATH"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			e := nodes.Entry{Name: "n", URL: test.url(t), TLS: test.tls}
			reached, err := nodes.Reach(ctx, e, nodes.Config{Timeout: test.timeout})
			if err == nil {
				_ = reached.Close()
				t.Fatal("it was reached")
			}
			var mendable interface{ Hint() string }
			if !errors.As(err, &mendable) {
				t.Fatalf("there is no hint for %v", err)
			}
			if !strings.Contains(err.Error(), test.what) || !strings.Contains(err.Error(), `"n`) {
				t.Errorf("error: got %q, want %q in it", err, test.what)
			}
			if !strings.Contains(mendable.Hint(), test.hint) {
				t.Errorf("hint: got %q, want %q in it", mendable.Hint(), test.hint)
			}
			if ctx.Err() != nil {
				t.Error("it took too long")
			}
		})
	}
}

func TestDirectIsInterrupted(t *testing.T) {
	path := socket(t)
	came := make(chan struct{})
	serve(t, listen(t, "unix", path), func(conn net.Conn) {
		close(came)
		_, _ = io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	context.AfterFunc(t.Context(), cancel)
	var group errgroup.Group
	group.Go(func() error {
		<-came
		cancel()
		return nil
	})
	_, err := nodes.Reach(ctx, nodes.Entry{Name: "n", URL: "unix://" + path}, nodes.Config{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	_ = group.Wait()
}
