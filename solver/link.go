// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
)

// link is the one connection that a client has. gRPC would open another where one breaks, and have what is asked meanwhile wait for it:
// a build that was lost does not come back that way.
type link struct {
	conn net.Conn
	// given and ended tell that gRPC has the connection, and that it ended.
	given, ended atomic.Bool
}

var errLinkLost = errors.New("the connection to the solver was lost")

// dial gives the connection once.
func (l *link) dial(context.Context, string) (net.Conn, error) {
	if l.given.Swap(true) {
		return nil, errLinkLost
	}
	return watchedConn{l.conn, l}, nil
}

// Close ends the connection, if gRPC has not.
func (l *link) Close() error {
	if err := l.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// lost reports whether the connection ended. A nil link does not tell.
func (l *link) lost() bool { return l != nil && l.ended.Load() }

// watchedConn notices its end before gRPC does.
type watchedConn struct {
	net.Conn
	link *link
}

// Read reads.
func (c watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.link.ended.Store(true)
	}
	return n, err
}

// Write writes.
func (c watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.link.ended.Store(true)
	}
	return n, err
}
