// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/mab-build/mab/nodes/link"
)

// connection is an SSH connection, but for running commands on it.
type connection interface {
	DialUnix(ctx context.Context, path string) (net.Conn, error)
	Ping(ctx context.Context) (time.Duration, error)
	Done() <-chan struct{}
	Err() error
	Close() error
}

// reachLink connects by SSH to where an entry of the kinds SSH and SSHUnix is.
func reachLink(ctx context.Context, name string, at Endpoint, cfg Config) (way, error) {
	l, err := link.Dial(ctx, link.Config{
		Host: at.Host, User: at.User, Port: at.Port,
		Timeout: cfg.Timeout, AcceptNewHostKey: cfg.AcceptNewHostKey, Ask: cfg.Ask, Note: cfg.Note,
	})
	if err != nil {
		return nil, err
	}
	if at.Kind == SSHUnix {
		return far{l, at.Path, cfg.timeout()}, nil
	}
	return linked{newBrought(overLink{l}, name, cfg), l}, nil
}

// linked is a solver that mab brought, over a link.
type linked struct {
	*brought
	link connection
}

func (l linked) ping(ctx context.Context) (time.Duration, error) { return l.link.Ping(ctx) }
func (l linked) done() <-chan struct{}                           { return l.link.Done() }
func (l linked) err() error                                      { return l.link.Err() }
func (l linked) close() error                                    { return l.link.Close() }

// far is a socket of somebody else's solver, over a link.
type far struct {
	link connection
	path string
	// timeout is for the solver to say something.
	timeout time.Duration
}

func (f far) ping(ctx context.Context) (time.Duration, error) { return f.link.Ping(ctx) }
func (f far) done() <-chan struct{}                           { return f.link.Done() }
func (f far) err() error                                      { return f.link.Err() }
func (f far) close() error                                    { return f.link.Close() }
func (f far) log(context.Context, int) (string, error)        { return "", nil }

// dial connects to the socket, and waits until a solver speaks there: see dialDirect. sshd does not say why it cannot.
func (f far) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, &silentError{f.timeout})
	defer cancel()
	conn, err := f.link.DialUnix(ctx, f.path)
	if err == nil {
		conn, err = f.greeted(ctx, conn)
	}
	if err != nil && f.link.Err() == nil {
		return nil, trouble{err, "see there that a solver listens, and that this user may use it: ls -l " + f.path + "; mab's own solver is at ssh://HOST"}
	}
	return conn, err
}

// greeted is the connection of which something came.
func (f far) greeted(ctx context.Context, conn net.Conn) (net.Conn, error) {
	out, err := greet(ctx, conn, nil)
	if err == nil {
		return out, nil
	}
	_ = conn.Close()
	if err = ended(ctx, err); errors.Is(err, io.EOF) {
		err = errors.New("it hung up before it said anything")
	}
	return nil, fmt.Errorf("connecting to %s: %w", f.path, err)
}

// overLink has the commands of a machine run over a link.
type overLink struct{ link *link.Link }

// Run runs a command to its end.
func (o overLink) Run(ctx context.Context, line string, stdin io.Reader, stdout, stderr io.Writer) error {
	return brief(line, o.link.Run(ctx, link.Command{Line: line, Stdin: stdin, Stdout: stdout, Stderr: stderr}))
}

// Open starts a command.
func (o overLink) Open(ctx context.Context, line string) (net.Conn, error) {
	s, err := o.link.Open(ctx, line)
	if err != nil {
		return nil, brief(line, err)
	}
	return stream{s, line}, nil
}

// stream is a command as a connection.
type stream struct {
	*link.Stream
	line string
}

// Read reads what the command writes.
func (s stream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	return n, brief(s.line, err)
}

// brief has an error not show the command line, which is a script that nobody wants to see.
func brief(line string, err error) error {
	var exit *link.ExitError
	if errors.As(err, &exit) {
		how := "exit code " + strconv.Itoa(exit.Code)
		switch {
		case exit.Signal != "":
			how = "signal " + exit.Signal
		case exit.Code < 0:
			how = "no exit code"
		}
		return &exitError{how}
	}
	for err != nil && strings.Contains(err.Error(), strconv.Quote(line)) {
		err = errors.Unwrap(err)
	}
	return err
}
