// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

var _ net.Conn = (*Stream)(nil)

// farewell is how long Close lets go out what was written before.
const farewell = time.Second

// Stream is a program or a socket on the other side as a connection. Written bytes are on their way when Write returns; their trouble shows
// with a later call. Read ends with io.EOF when the program ended well, an *ExitError when it did not, a *LostError with the link.
type Stream struct {
	link    *Link
	channel opened
	// line is the program's; empty for a socket.
	line    string
	in, out *ring
	stderr  gate
	// over is closed when the other side closed the channel; code and signal are then what the program ended with, if it was told.
	over   chan struct{}
	told   bool
	code   int
	signal string
	// sent is closed when all that was written went out, or never will.
	sent chan struct{}
	once sync.Once
}

// newStream takes the channel. With the link lost already, it returns only the error.
func newStream(l *Link, channel opened, line string, stderr io.Writer) (*Stream, error) {
	s := &Stream{link: l, channel: channel, line: line, in: newRing(), out: newRing(), over: make(chan struct{}), sent: make(chan struct{}),
		stderr: gate{to: stderr}}
	if !l.spawn(s.run) {
		channel.ended()
		return nil, l.Err()
	}
	return s, nil
}

// run moves bytes until the channel has ended and nobody waits for what came over it.
func (s *Stream) run() {
	var group errgroup.Group
	group.Go(func() error {
		s.attend()
		return nil
	})
	complained := make(chan struct{})
	group.Go(func() error {
		defer close(complained)
		_, err := io.Copy(&s.stderr, s.channel.Stderr())
		return err
	})
	received := make(chan struct{})
	group.Go(func() error {
		defer close(received)
		s.receive(complained)
		return nil
	})
	group.Go(func() error {
		defer close(s.sent)
		s.send()
		return nil
	})
	group.Go(func() error {
		select {
		case <-s.link.done:
			s.in.fail(s.link.Err())
			s.out.fail(s.link.Err())
		case <-received:
		}
		return nil
	})
	// What went wrong is in the rings.
	_ = group.Wait()
	s.channel.ended()
}

// attend takes what the other side says of the program.
func (s *Stream) attend() {
	for request := range s.channel.requests {
		var status struct{ Code uint32 }
		var signal struct {
			Name string
			Core bool
			Text string
			Lang string
		}
		switch {
		case request.Type == "exit-status" && ssh.Unmarshal(request.Payload, &status) == nil:
			s.code, s.told = int(status.Code), true
		case request.Type == "exit-signal" && ssh.Unmarshal(request.Payload, &signal) == nil:
			s.signal, s.code, s.told = signal.Name, -1, true
		}
		if request.WantReply {
			_ = request.Reply(false, nil)
		}
	}
	close(s.over)
	err := io.ErrClosedPipe
	if !s.told {
		err = s.link.explain(err)
	}
	s.out.fail(err)
}

// receive moves what the program writes. Complained is closed when its stderr has ended.
func (s *Stream) receive(complained <-chan struct{}) {
	for {
		room, err := s.in.free()
		if err != nil {
			return
		}
		n, err := s.channel.Read(room)
		s.in.fill(n)
		if err != nil {
			break
		}
	}
	if s.line != "" {
		<-s.over
		<-complained
	}
	s.in.end(s.result())
}

// result is what Read ends with.
func (s *Stream) result() error {
	switch {
	case s.link.Err() != nil:
		return s.link.Err()
	case s.line != "" && s.told && s.code == 0 && s.signal == "":
		return io.EOF
	case s.line == "" || !s.told:
		_ = s.link.explain(io.EOF)
		if lost := s.link.Err(); lost != nil {
			return lost
		}
		if s.line == "" {
			return io.EOF
		}
		s.code = -1
	}
	return &ExitError{Line: s.line, Code: s.code, Signal: s.signal, Stderr: s.stderr.String()}
}

// send moves what is written.
func (s *Stream) send() {
	for {
		bytes, err := s.out.full()
		if errors.Is(err, errNoMore) {
			_ = s.channel.CloseWrite()
		}
		if err != nil {
			return
		}
		n, err := s.channel.Write(bytes)
		s.out.drop(n)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrClosedPipe
			}
			s.out.fail(s.link.explain(err))
			return
		}
	}
}

// errNoMore ends the way out when all was written.
var errNoMore = errors.New("nothing may be written after CloseWrite")

// Read returns what the program wrote to its stdout.
func (s *Stream) Read(p []byte) (int, error) { return s.in.Read(p) }

// Write gives the program its stdin.
func (s *Stream) Write(p []byte) (int, error) { return s.out.Write(p) }

// CloseWrite ends the program's stdin.
func (s *Stream) CloseWrite() error {
	s.out.end(errNoMore)
	return nil
}

// Close ends the stream: the program's stdin and stdout are closed, and it should end by itself. Closing twice does nothing.
func (s *Stream) Close() error {
	s.finish("")
	return nil
}

// terminate is Close with a signal for the program.
func (s *Stream) terminate() { s.finish("TERM") }

func (s *Stream) finish(signal string) {
	s.once.Do(func() {
		s.stderr.close()
		s.in.fail(net.ErrClosed)
		s.out.end(net.ErrClosed)
		s.link.spawn(func() {
			if signal != "" {
				_, _ = s.channel.SendRequest("signal", false, ssh.Marshal(&struct{ Name string }{signal}))
			}
			timer := time.NewTimer(farewell)
			defer timer.Stop()
			select {
			case <-s.sent:
			case <-timer.C:
			case <-s.link.done:
			}
			s.out.fail(net.ErrClosed)
			_ = s.channel.Close()
		})
	})
}

// Stderr is the end of what the program wrote there, 8 KiB at most.
func (s *Stream) Stderr() string { return s.stderr.String() }

// LocalAddr is the link.
func (s *Stream) LocalAddr() net.Addr { return name(s.link.address) }

// RemoteAddr names the machine and the program.
func (s *Stream) RemoteAddr() net.Addr { return name(s.link.address + " " + s.line) }

// SetDeadline is as net.Conn has it.
func (s *Stream) SetDeadline(t time.Time) error {
	s.in.deadline(t)
	s.out.deadline(t)
	return nil
}

// SetReadDeadline is as net.Conn has it.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.in.deadline(t)
	return nil
}

// SetWriteDeadline is as net.Conn has it.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.out.deadline(t)
	return nil
}

// gate keeps the end of a program's stderr, and hands all of it on until it is closed.
type gate struct {
	tail
	mu     sync.Mutex
	to     io.Writer
	closed bool
}

// Write takes everything.
func (g *gate) Write(p []byte) (int, error) {
	_, _ = g.tail.Write(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.to != nil && !g.closed {
		if _, err := g.to.Write(p); err != nil {
			g.closed = true
		}
	}
	return len(p), nil
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}
