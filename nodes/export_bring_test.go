// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"net"
	"time"
)

// Shell is a machine.
type Shell = machine

// ExitError is a command that did not end well.
func ExitError(how string) error { return &exitError{how} }

// Over reaches a node whose commands a machine runs.
func Over(ctx context.Context, name string, m Shell, cfg Config) (*Reached, error) {
	e := Entry{Name: name, URL: "ssh://" + name}
	w := linked{brought: newBrought(m, name, cfg), link: nowhere{}}
	r, err := reachBy(ctx, e, w)
	if err != nil {
		return nil, named(e, err)
	}
	return r, nil
}

// PurgeOver purges a node whose commands a machine runs.
func PurgeOver(ctx context.Context, name string, m Shell, cfg Config) error {
	return newBrought(m, name, cfg).purge(ctx, true)
}

// Lines are the command lines that are given to login shells.
func Lines() []string {
	p := program{arch: "arm64", digest: "0123", size: 1}
	return []string{runLine([]program{p}, "connect"), bringLine(p, "abcd", true), bringLine(p, "abcd", false)}
}

// ArchOf is archOf.
func ArchOf(machine string) (string, bool) { return archOf(machine) }

// Brief is brief.
func Brief(line string, err error) error { return brief(line, err) }

type nowhere struct{}

func (nowhere) DialUnix(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed }
func (nowhere) Ping(context.Context) (time.Duration, error)        { return time.Millisecond, nil }
func (nowhere) Done() <-chan struct{}                              { return nil }
func (nowhere) Err() error                                         { return nil }
func (nowhere) Close() error                                       { return nil }

// FarOver connects to the socket of somebody else's solver, to which a connection leads.
func FarOver(ctx context.Context, conn net.Conn, path string) (net.Conn, error) {
	return far{link: leading{conn: conn}, path: path, timeout: Config{}.timeout()}.dial(ctx)
}

type leading struct {
	nowhere
	conn net.Conn
}

func (l leading) DialUnix(context.Context, string) (net.Conn, error) { return l.conn, nil }
