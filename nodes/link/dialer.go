// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// ciphers are those that go along with TLS-like speed first: AES-GCM is 1.7 times as fast as ChaCha20 where CPUs know AES.
var ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES192CTR,
	ssh.CipherAES256CTR}

// dialer goes one way.
type dialer struct {
	cfg      Config
	route    []hop
	keys     keyring
	patience *patience
}

// droppedError says that a server took a connection and ended it before it greeted.
type droppedError struct {
	said string
	err  error
	// again is whether it may be otherwise the next time.
	again bool
}

func (e *droppedError) Error() string {
	if said := strings.TrimSpace(e.said); said != "" {
		return fmt.Sprintf("it ended the connection before its greeting, and said %q", said)
	}
	return "it ended the connection before its greeting"
}
func (e *droppedError) Unwrap() error { return e.err }

// try goes the whole way once.
func (d *dialer) try(ctx context.Context) (*Link, error) {
	target := d.route[len(d.route)-1]
	l := &Link{host: target.name, address: target.String(), done: make(chan struct{}), freed: make(chan struct{}, 1)}
	for i, h := range d.route {
		conn, err := d.connect(ctx, l, h)
		if err != nil {
			l.abandon()
			return nil, d.failure(ctx, h, "connecting to", err)
		}
		if i == 0 {
			l.base = conn
		}
		l.conn = &watched{Conn: conn}
		client, err := d.shake(ctx, l, h)
		if err != nil {
			l.abandon()
			return nil, err
		}
		l.clients = append(l.clients, client)
	}
	return l, nil
}

// abandon ends a way that was not gone to its end.
func (l *Link) abandon() {
	if l.base == nil {
		return
	}
	_ = l.base.Close()
	for _, client := range l.clients {
		_ = client.Wait()
	}
}

// connect makes the connection that a server is talked to over.
func (d *dialer) connect(ctx context.Context, l *Link, h hop) (net.Conn, error) {
	switch {
	case len(l.clients) > 0:
		stop := context.AfterFunc(ctx, func() { _ = l.base.Close() })
		defer stop()
		return l.client().DialContext(ctx, "tcp", h.address())
	case h.command != "":
		return command(ctx, h.command, d.cfg.Getenv)
	}
	return new(net.Dialer).DialContext(ctx, h.network, h.address())
}

// shake talks to a server until it has logged in.
func (d *dialer) shake(ctx context.Context, l *Link, h hop) (*ssh.Client, error) {
	keys := newHostKeys(h)
	verify := keys.verify(d.cfg.AcceptNewHostKey, d.cfg.Note)
	var (
		wrong    *HostKeyError
		verified bool
		auth     ssh.ClientAuthContext
	)
	d.keys.tried, d.keys.problems, d.keys.mend = nil, nil, ""
	stop := context.AfterFunc(ctx, func() { _ = l.base.Close() })
	defer stop()
	conn, channels, requests, err := ssh.NewClientConn(l.conn, h.address(), &ssh.ClientConfig{
		Config:            ssh.Config{Ciphers: ciphers},
		User:              h.user,
		HostKeyAlgorithms: keys.algorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			err := verify(key)
			verified = err == nil
			return err
		},
		AuthCallback: func(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			auth = *c
			return nil, nil
		},
		Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { return d.keys.signers(ctx, h), nil })},
	})
	if err == nil && ctx.Err() == nil {
		return ssh.NewClient(conn, channels, requests), nil
	}
	switch {
	case ctx.Err() != nil && !l.conn.greeted.Load():
		return nil, d.failure(ctx, h, "waiting for the SSH greeting of", err)
	case ctx.Err() != nil:
		return nil, d.failure(ctx, h, "logging in to", err)
	case errors.As(err, &wrong):
		wrong.Host, wrong.Address = l.host, h.String()
		wrong.Proxied, wrong.Login = len(l.clients) > 0 || h.command != "", d.route[len(d.route)-1].login()
		return nil, wrong
	case !l.conn.greeted.Load() && ended(err):
		dropped := &droppedError{said: string(l.conn.head), err: err, again: true}
		if program, ok := l.conn.Conn.(*commandConn); ok {
			dropped.said, dropped.again = dropped.said+program.stderr.String(), false
		}
		return nil, d.failure(ctx, h, "connecting to", dropped)
	case !verified, ended(err):
		return nil, d.failure(ctx, h, "talking to", err)
	}
	return nil, d.refusal(h, auth, err)
}

// wsaECONNRESET is ECONNRESET of Windows, https://learn.microsoft.com/windows/win32/winsock/windows-sockets-error-codes-2.
const wsaECONNRESET = syscall.Errno(10054)

// ended reports whether a connection was ended by the other side.
func ended(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, wsaECONNRESET},
		func(end error) bool { return errors.Is(err, end) })
}

// failure says why there is no server at the end of the way.
func (d *dialer) failure(ctx context.Context, h hop, doing string, err error) error {
	var config *ConfigError
	host := d.route[len(d.route)-1].name
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, context.Canceled):
		return fmt.Errorf("reaching %s: %w", host, cause)
	case cause != nil:
		err = cause
	case errors.As(err, &config):
		return err
	}
	return &UnreachableError{Host: host, Address: h.String(), Doing: doing, Login: d.route[len(d.route)-1].login(), Err: err}
}

// refusal says why a server let nobody in.
func (d *dialer) refusal(h hop, auth ssh.ClientAuthContext, err error) error {
	e := &AuthError{Host: d.route[len(d.route)-1].name, Address: h.String(), Tried: d.keys.tried, Problems: d.keys.problems, Mend: d.keys.mend, Err: err}
	var locked *lockedError
	switch {
	case slices.Contains(auth.PartialSuccessMethods, "publickey"):
		e.Problems, e.Mend = []string{"it wants more than a key: " + strings.Join(auth.AllowedMethods, ", ")}, h.methods()
	case len(auth.AllowedMethods) > 0 && !slices.Contains(auth.AllowedMethods, "publickey"):
		e.Problems, e.Mend = []string{"it wants no key, but: " + strings.Join(auth.AllowedMethods, ", ")}, h.methods()
	case errors.As(err, &locked):
		e.Problems = append(e.Problems, locked.Error())
	case len(e.Tried) > 5:
		e.Mend = fmt.Sprintf("name the right key below Host %s in ~/.ssh/config: IdentityFile, and IdentitiesOnly yes", h.name)
	}
	if e.Mend == "" {
		e.Mend = "give the server your key: ssh-copy-id " + h.login()
	}
	return e
}

// methods is the mend for a server that wants what mab has not.
func (h hop) methods() string {
	return fmt.Sprintf("let the server take keys alone: AuthenticationMethods publickey in /etc/ssh/sshd_config on %s", h.name)
}

// login is how ssh is told of a server.
func (h hop) login() string {
	if h.port != 22 {
		return fmt.Sprintf("-p %d %s@%s", h.port, quoted(h.user), quoted(h.name))
	}
	return quoted(h.user) + "@" + quoted(h.name)
}
