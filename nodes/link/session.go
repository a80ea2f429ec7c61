// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// sessionTries is how often a session that the server refuses is asked for again, after 50 ms and then twice as long each time, 3.2 s in all
// if none of the link's own ends.
const sessionTries = 6

// Command is a program on the other side.
type Command struct {
	// Line is for the shell of the account there.
	Line string
	// Stdin is read to its end, or until the program ends; its Read must come back. Nil: empty.
	Stdin io.Reader
	// Stdout and Stderr take what the program writes. Nil: it is thrown away, but for the end of stderr in an ExitError.
	Stdout, Stderr io.Writer
}

// Run runs a program to its end, an *ExitError if that is no good one. When ctx ends, Run returns, and the program loses
// its stdin and stdout; it is sent SIGTERM, too, which OpenSSH's server does for all accounts but root.
func (l *Link) Run(ctx context.Context, c Command) error {
	s, err := l.open(ctx, c.Line, c.Stderr)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.terminate)
	defer stop()
	if c.Stdout == nil {
		c.Stdout = io.Discard
	}
	var group errgroup.Group
	var input error
	group.Go(func() error {
		if c.Stdin != nil {
			_, input = io.Copy(onlyWriter{s}, c.Stdin)
		}
		if input == nil {
			input = s.CloseWrite()
		}
		return nil
	})
	_, err = io.Copy(c.Stdout, onlyReader{s})
	// Ends the copying of stdin; its trouble counts only if the program found nothing wrong with it.
	_ = s.Close()
	_ = group.Wait()
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("running %q on %s: %w", c.Line, l.host, ctx.Err())
	case err != nil:
		return err
	case input != nil && !errors.Is(input, net.ErrClosed) && !errors.Is(input, io.ErrClosedPipe):
		return fmt.Errorf("giving %q on %s its input: %w", c.Line, l.host, input)
	}
	return nil
}

// onlyReader and onlyWriter keep io.Copy from looking for other methods.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// Open starts a program as a connection: what is written is its stdin, what is read its stdout. The caller closes it.
func (l *Link) Open(ctx context.Context, line string) (*Stream, error) { return l.open(ctx, line, nil) }

// DialUnix connects to a unix socket on the other side, of which path is the absolute path. The caller closes it.
func (l *Link) DialUnix(ctx context.Context, path string) (net.Conn, error) {
	request := struct {
		Path, Reserved0 string
		Reserved1       uint32
	}{Path: path}
	channel, err := await(ctx, l, func() (opened, error) { return l.channel("direct-streamlocal@openssh.com", ssh.Marshal(&request)) }, opened.drop)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s on %s: %w", path, l.host, err)
	}
	return newStream(l, channel, "", nil)
}

func (l *Link) open(ctx context.Context, line string, stderr io.Writer) (*Stream, error) {
	channel, err := l.session(ctx)
	if err != nil {
		return nil, err
	}
	request := struct{ Line string }{line}
	ok, err := await(ctx, l, func() (bool, error) { return channel.SendRequest("exec", true, ssh.Marshal(&request)) }, nil)
	if err == nil && !ok {
		err = errors.New("the server does not run commands")
	}
	if err != nil {
		channel.drop()
		return nil, fmt.Errorf("running %q on %s: %w", line, l.host, err)
	}
	return newStream(l, channel, line, stderr)
}

// session opens a channel for a program. Servers allow only so many at once (MaxSessions), so it waits for one that ends.
func (l *Link) session(ctx context.Context) (opened, error) {
	for try, pause := 0, 50*time.Millisecond; ; try, pause = try+1, pause*2 {
		channel, err := await(ctx, l, func() (opened, error) { return l.channel("session", nil) }, opened.drop)
		var refused *ssh.OpenChannelError
		if err == nil {
			return channel, nil
		}
		if !errors.As(err, &refused) {
			return opened{}, fmt.Errorf("opening a session on %s: %w", l.host, err)
		}
		if try == sessionTries {
			return opened{}, &SessionsError{Host: l.host, Address: l.address, Open: int(l.sessions.Load()), Err: err}
		}
		timer := time.NewTimer(pause)
		select {
		case <-l.freed:
		case <-timer.C:
		case <-ctx.Done():
		case <-l.done:
		}
		timer.Stop()
	}
}

func (l *Link) channel(kind string, payload []byte) (opened, error) {
	channel, requests, err := l.client().OpenChannel(kind, payload)
	if err != nil {
		return opened{}, err
	}
	o := opened{Channel: channel, requests: requests, link: l, session: kind == "session"}
	if o.session {
		l.sessions.Add(1)
	}
	return o, nil
}

// opened is a channel with the requests that the other side sends on it. Its owner calls ended when both are done with, or drop.
type opened struct {
	ssh.Channel
	requests <-chan *ssh.Request
	link     *Link
	session  bool
}

// drop gives up a channel that nobody wants.
func (o opened) drop() {
	o.link.spawn(func() {
		_ = o.Close()
		ssh.DiscardRequests(o.requests)
		o.ended()
	})
}

// ended tells who waits for a session that one is free.
func (o opened) ended() {
	if !o.session {
		return
	}
	o.link.sessions.Add(-1)
	select {
	case o.link.freed <- struct{}{}:
	default:
	}
}
