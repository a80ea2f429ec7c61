// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// open listens on every address. The caller closes the listeners.
func (l Listening) open(ctx context.Context) (out []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(out)
			out = nil
		}
	}()
	for _, s := range l.Addresses {
		a, err := parseAddress(s)
		if err != nil {
			return out, err
		}
		var at net.Listener
		if a.network == "unix" {
			at, err = l.openUnix(ctx, a.at)
		} else if at, err = (&net.ListenConfig{}).Listen(ctx, a.network, a.at); err != nil {
			err = &listenError{fmt.Errorf("listening on %q: %w", s, err)}
		}
		if err != nil {
			return out, err
		}
		out = append(out, at)
	}
	return out, nil
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		_ = l.Close()
	}
}

func (l Listening) openUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the directory of a socket: %w", err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("listening on %q: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, &listenError{fmt.Errorf("listening on %q: it exists and is no socket", path)}
	default:
		if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
			_ = conn.Close()
			return nil, &listenError{fmt.Errorf("listening on %q: somebody answers there already", path)}
		}
	}
	at, err := listen(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := l.give(path); err != nil {
		return nil, errors.Join(fmt.Errorf("giving away %q: %w", path, err), at.Close())
	}
	return at, nil
}

// give makes a socket its owner's and its group's.
func (l Listening) give(path string) error {
	const stays = -1
	uid, gid, mode := stays, stays, fs.FileMode(0o600)
	if l.UID != nil {
		uid = *l.UID
	}
	if l.GID != nil {
		gid, mode = *l.GID, 0o660
	}
	if uid == stays && gid == stays {
		return nil
	}
	return errors.Join(os.Chown(path, uid, gid), os.Chmod(path, mode))
}

type listenError struct{ err error }

func (e *listenError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *listenError) Unwrap() error { return e.err }

// Hint says how to go on.
func (*listenError) Hint() string {
	return "choose another address with --addr, or stop what is there; a build on this machine needs no address"
}

// gate lets those in who come by a unix socket, whose owner the kernel knows, and by tcp those who can show a certificate. Who is refused is
// in the log.
type gate struct {
	credentials.TransportCredentials
	tls *tls.Config // nil: none
	log *slog.Logger
}

var _ credentials.TransportCredentials = gate{}

func (l Listening) gate(log *slog.Logger) (gate, error) {
	out := gate{insecure.NewCredentials(), nil, log}
	if l.TLS == (TLS{}) {
		return out, nil
	}
	first, err := l.TLS.load()
	if err != nil {
		return gate{}, err
	}
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		fresh, err := l.TLS.load()
		if err != nil {
			log.Warn("going on with the certificates of the start", "why", err)
			return nil, nil //nolint:nilnil // crypto/tls takes it as: no change
		}
		return fresh, nil
	}
	out.tls = first
	return out, nil
}

// ServerHandshake decides. It is not that of grpc's credentials.NewTLS, which wants ALPN of every client: buildx does without.
func (g gate) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if conn.LocalAddr().Network() == "unix" || g.tls == nil {
		return g.TransportCredentials.ServerHandshake(conn)
	}
	slow := &lingering{Conn: conn}
	out := tls.Server(slow, g.tls)
	if err := out.Handshake(); err != nil { //nolint:noctx // grpc has set a deadline
		g.log.Warn("client refused", "address", conn.RemoteAddr().String(), "why", err)
		_ = slow.Close()
		return nil, nil, err
	}
	slow.in.Store(true)
	return out, credentials.TLSInfo{
		State: out.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// lingering is a connection whose other side learns why it is refused. A client that is not waiting for the server any more sends on, and
// what it sends to a closed socket would make its kernel throw the reason away.
type lingering struct {
	net.Conn
	in atomic.Bool
}

const lingerTime = time.Second

// Close waits a moment for the other side to close, if it was refused.
func (l *lingering) Close() error {
	if tcp, ok := l.Conn.(*net.TCPConn); ok && !l.in.Load() {
		_ = tcp.SetReadDeadline(time.Now().Add(lingerTime))
		if tcp.CloseWrite() == nil {
			_, _ = io.CopyN(io.Discard, tcp, 64<<10)
		}
	}
	return l.Conn.Close()
}

// Clone returns itself: it holds nothing that changes.
func (g gate) Clone() credentials.TransportCredentials { return g }
