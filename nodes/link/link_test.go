// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/mab-build/mab/nodes/link"
)

func open(t testing.TB, l *link.Link, line string) *link.Stream {
	t.Helper()
	s, err := l.Open(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestDialErrors(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	for _, test := range []struct {
		rule       string
		change     func(*server)
		want, hint string
	}{
		{"nobody listens", func(s *server) { s.cfg.Port = port(closed) },
			"reaching 127.0.0.1: connecting to me@127.0.0.1:PORT: dial tcp 127.0.0.1:PORT: connect: connection refused",
			"see whether OpenSSH gets there: ssh -v -p PORT me@127.0.0.1 true"},
		{"a server that stays silent", func(s *server) { s.cfg.Port = port(silent) },
			"reaching 127.0.0.1: waiting for the SSH greeting of me@127.0.0.1:PORT: no answer within 300ms",
			"see whether OpenSSH gets there: ssh -v -p PORT me@127.0.0.1 true"},
		{"a server that falls silent", func(s *server) { s.slow.Store(1) },
			"reaching 127.0.0.1: logging in to me@127.0.0.1:PORT: no answer within 300ms",
			"see whether OpenSSH gets there: ssh -v -p PORT me@127.0.0.1 true"},
		{"a server that drops everybody", func(s *server) { s.drop.Store(1000) },
			"reaching 127.0.0.1: connecting to me@127.0.0.1:PORT: it ended the connection before its greeting",
			"see whether OpenSSH gets there: ssh -v -p PORT me@127.0.0.1 true"},
		{"a server that says why it drops everybody", func(s *server) {
			s.say = "Exceeded MaxStartups\r\n"
			s.drop.Store(1000)
		},
			`reaching 127.0.0.1: connecting to me@127.0.0.1:PORT: it ended the connection before its greeting, and said "Exceeded MaxStartups"`,
			"see whether OpenSSH gets there: ssh -v -p PORT me@127.0.0.1 true"},
		{"a name for the shell", func(s *server) { s.cfg.Host = "-oProxyCommand=x" }, `the name of host "-oProxyCommand=x" begins with a dash`, ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			s := newServer(t)
			test.change(s)
			s.cfg.Timeout = 300 * time.Millisecond
			start := time.Now()
			_, err := link.Dial(t.Context(), s.cfg)
			if err == nil {
				t.Fatal("no error")
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			var mendable interface{ Hint() string }
			if !errors.As(err, &mendable) {
				t.Fatalf("%v has no hint", err)
			}
			name := func(text string) string { return strings.ReplaceAll(text, fmt.Sprint(s.cfg.Port), "PORT") }
			if name(err.Error()) != test.want || name(mendable.Hint()) != test.hint {
				t.Errorf("got  %s\nhint %s\nwant %s\nhint %s", name(err.Error()), name(mendable.Hint()), test.want, test.hint)
			}
			var lost interface{ Lost() bool }
			if errors.As(err, &lost) == errors.As(err, new(*link.ConfigError)) {
				t.Errorf("%T is a node that cannot be used, or a mistake, but not both", err)
			}
		})
	}
}

func TestDialCanceled(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := silent.Accept()
		if err == nil {
			defer conn.Close()
		}
		cancel()
	}()
	_, err = link.Dial(ctx, link.Config{Host: "127.0.0.1", Port: silent.Addr().(*net.TCPAddr).Port, Home: t.TempDir(), Files: []string{}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestDroppedConnectionsAreTriedAgain(t *testing.T) {
	s := newServer(t)
	s.say = "Exceeded MaxStartups\r\n"
	s.drop.Store(2)
	l := dial(t, s.cfg)
	if _, err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSilentAgent has an agent that takes questions and answers none.
func TestSilentAgent(t *testing.T) {
	s := newServer(t)
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Skip(err)
	}
	defer listener.Close()
	s.cfg.Timeout = 200 * time.Millisecond
	s.cfg.Getenv = func(string) string { return socket }
	_, err = link.Dial(t.Context(), s.cfg)
	var unreachable *link.UnreachableError
	if !errors.As(err, &unreachable) {
		t.Errorf("%v", err)
	}
}

func TestExit(t *testing.T) {
	l := dial(t, newServer(t).cfg)
	for _, test := range []struct{ rule, line, want string }{
		{"well", "exit 0", ""},
		{"with a code", "exit 3", `running "exit 3": exit code 3`},
		{"with a complaint", "complain no space\n", `running "complain no space\n": exit code 1: no space`},
		{"without a word", "vanish", `running "vanish": ended without an exit code`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := ""
			err := l.Run(t.Context(), link.Command{Line: test.line})
			if err != nil {
				got = err.Error()
			}
			if got != test.want || (err != nil) != errors.As(err, new(*link.ExitError)) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if _, err := io.ReadAll(open(t, l, test.line)); fmt.Sprint(err) != map[bool]string{true: "<nil>", false: test.want}[test.want == ""] {
				t.Errorf("a stream ends with %v", err)
			}
		})
	}
}

func TestTail(t *testing.T) {
	l := dial(t, newServer(t).cfg)
	var all bytes.Buffer
	text := strings.Repeat("a", 10<<10) + "end"
	err := l.Run(t.Context(), link.Command{Line: "complain " + text, Stderr: &all})
	var exit *link.ExitError
	if !errors.As(err, &exit) || len(exit.Stderr) != 8<<10 || !strings.HasSuffix(exit.Stderr, "end") || all.String() != text {
		t.Errorf("%d bytes of %d in %v", len(exit.Stderr), all.Len(), err)
	}
}

// TestLost has the line cut under everything that may wait for it.
func TestLost(t *testing.T) {
	for _, test := range []struct {
		rule string
		lose func(*testing.T, *server)
		want string
	}{
		{"by silence", func(t *testing.T, s *server) { s.freeze(t) }, "the link to 127.0.0.1 (me@127.0.0.1:PORT) was lost: no answer within SILENCE"},
		{"by its end", func(_ *testing.T, s *server) { s.cut() }, "the link to 127.0.0.1 (me@127.0.0.1:PORT) was lost: the other side ended it"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			s := newServer(t)
			s.cfg.KeepAlive = 100 * time.Millisecond
			l := dial(t, s.cfg)
			reader, writer := open(t, l, "hang"), open(t, l, "hang")
			waits := []func() error{
				func() error { _, err := reader.Read(make([]byte, 1)); return err },
				func() error { _, err := io.Copy(writer, zeros{}); return err },
				func() error { return l.Run(t.Context(), link.Command{Line: "hang"}) },
			}
			began := make(chan error, len(waits))
			for _, wait := range waits {
				go func() { began <- wait() }()
			}
			for s.sessions.Load() > 10-int32(len(waits)) {
				if _, err := l.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			test.lose(t, s)
			start := time.Now()
			<-l.Done()
			for range waits {
				err := <-began
				var lost *link.LostError
				if !errors.As(err, &lost) || !lost.Lost() || errors.Is(err, io.EOF) {
					t.Errorf("who waited got %v", err)
				}
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			got := strings.ReplaceAll(l.Err().Error(), fmt.Sprint(s.port), "PORT")
			// Where the kernel tells that it still receives, a silent server has more time.
			if got = regexp.MustCompile("300ms|1.5s").ReplaceAllString(got, "SILENCE"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if _, err := l.Ping(t.Context()); !errors.Is(err, l.Err()) {
				t.Errorf("a later question: %v", err)
			}
			if _, err := l.Open(t.Context(), "cat"); !errors.Is(err, l.Err()) {
				t.Errorf("a later program: %v", err)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestSlowLinkIsNoLostOne has questions wait behind more data than the line moves in the time that a silent link has.
func TestSlowLinkIsNoLostOne(t *testing.T) {
	s := newServer(t)
	s.cfg.KeepAlive = 100 * time.Millisecond
	l := dial(t, s.cfg)
	s.slow.Store(2 << 20)
	if err := l.Run(t.Context(), link.Command{Line: "drain", Stdin: io.LimitReader(zeros{}, 3<<20)}); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	l := dial(t, newServer(t).cfg)
	s := open(t, l, "hang")
	read := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		read <- err
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	<-l.Done()
	if err := <-read; !errors.Is(err, net.ErrClosed) || !errors.Is(l.Err(), net.ErrClosed) {
		t.Errorf("Read: %v, Err: %v", err, l.Err())
	}
}

func TestRefusedSessionsAreWaitedFor(t *testing.T) {
	s := newServer(t)
	s.sessions.Store(1)
	l := dial(t, s.cfg)
	first := open(t, l, "cat")
	second := make(chan error)
	go func() {
		other, err := l.Open(t.Context(), "cat")
		if err == nil {
			err = other.Close()
		}
		second <- err
	}()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestRefusedSessions(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.sessions.Store(1)
	l := dial(t, s.cfg)
	open(t, l, "cat")
	_, err := l.Open(t.Context(), "cat")
	var refused *link.SessionsError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	want := `opening a session on 127.0.0.1 (me@127.0.0.1:PORT): refused, with 1 open: ssh: rejected: connect failed ("open failed")`
	if got := strings.ReplaceAll(err.Error(), fmt.Sprint(s.port), "PORT"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if want := "raise MaxSessions in /etc/ssh/sshd_config on 127.0.0.1; OpenSSH's default is 10"; refused.Hint() != want {
		t.Errorf("hint %s", refused.Hint())
	}
}

// TestStreamIsConn joins two streams at the server.
func TestStreamIsConn(t *testing.T) {
	s := newServer(t)
	l := dial(t, s.cfg)
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, err := l.Open(t.Context(), "meet")
		if err != nil {
			return nil, nil, nil, err
		}
		b, err := l.Open(t.Context(), "meet")
		if err != nil {
			return nil, nil, nil, err
		}
		return a, b, func() {
			_ = a.Close()
			_ = b.Close()
		}, nil
	})
}

func TestHalfClose(t *testing.T) {
	s := open(t, dial(t, newServer(t).cfg), "cat")
	if _, err := io.WriteString(s, "text"); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(s); string(text) != "text" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := s.Write([]byte("more")); err == nil {
		t.Error("it took more")
	}
}
