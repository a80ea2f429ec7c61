// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mab-build/mab/nodes/link"
)

// TestMain finds goroutines that outlive their links.
func TestMain(m *testing.M) {
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); ; {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("nodes/link.(*")) && !bytes.Contains(stacks, []byte("x/crypto/ssh.(*")) {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", stacks)
			code = 1
			break
		}
		runtime.Gosched()
	}
	os.Exit(code)
}

// newKey makes a key, and the file that OpenSSH would keep it in.
func newKey(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}

// server is an SSH server that can behave badly.
type server struct {
	port    int
	hostKey ssh.Signer
	cfg     link.Config
	// drop is how many connections are still ended before the greeting, after what say has; sessions how many channels may be open.
	drop     atomic.Int32
	say      string
	sessions atomic.Int32
	// slow is how many bytes per second go each way, zero: as many as may.
	slow atomic.Int64
	// line is held while nothing goes either way.
	line  sync.RWMutex
	mu    sync.Mutex
	conns []net.Conn
	// meeting is where the channel waits that the next one is joined with.
	meeting chan ssh.Channel
}

// newServer starts a server that lets in the key of cfg, whose known_hosts has the server's.
func newServer(t testing.TB) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{port: listener.Addr().(*net.TCPAddr).Port, meeting: make(chan ssh.Channel, 1)}
	s.sessions.Store(10)
	s.hostKey, _ = newKey(t)
	user, private := newKey(t)
	home := t.TempDir()
	write(t, filepath.Join(home, ".ssh", "id_ed25519"), private)
	write(t, filepath.Join(home, ".ssh", "known_hosts"), fmt.Sprintf("[127.0.0.1]:%d %s", s.port, ssh.MarshalAuthorizedKey(s.hostKey.PublicKey())))
	s.cfg = link.Config{Host: "127.0.0.1", User: "me", Port: s.port, Home: home, Files: []string{}, Getenv: func(string) string { return "" },
		Note: func(text string) { t.Log(text) }}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), user.PublicKey().Marshal()) {
			return nil, fmt.Errorf("another key")
		}
		return nil, nil
	}}
	config.AddHostKey(s.hostKey)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if s.drop.Add(-1) >= 0 {
				_, _ = io.WriteString(conn, s.say)
				_ = conn.Close()
				continue
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			group.Go(func() { s.serve(&badConn{conn, s}, config, &group) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.cut()
		group.Wait()
	})
	return s
}

// cut ends all connections.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

// freeze stops the line without ending it, until the test ends or thaw is called.
func (s *server) freeze(t *testing.T) (thaw func()) {
	s.line.Lock()
	thaw = sync.OnceFunc(s.line.Unlock)
	t.Cleanup(thaw)
	return thaw
}

// badConn is a connection over a bad line.
type badConn struct {
	net.Conn
	s *server
}

func (c *badConn) hinder(n int) {
	c.s.line.RLock()
	c.s.line.RUnlock() //nolint:staticcheck // it is there to be waited for
	if rate := c.s.slow.Load(); rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
	}
}

func (c *badConn) Read(p []byte) (int, error) {
	if c.s.slow.Load() > 0 {
		p = p[:min(len(p), 16<<10)]
	}
	n, err := c.Conn.Read(p)
	c.hinder(n)
	return n, err
}

func (c *badConn) Write(p []byte) (int, error) {
	c.hinder(0)
	return c.Conn.Write(p)
}

func (s *server) serve(conn net.Conn, config *ssh.ServerConfig, group *sync.WaitGroup) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	group.Go(func() { ssh.DiscardRequests(requests) })
	for asked := range channels {
		if s.sessions.Add(-1) < 0 {
			s.sessions.Add(1)
			_ = asked.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		group.Go(func() {
			defer s.sessions.Add(1)
			defer channel.Close()
			for request := range requests {
				_ = request.Reply(request.Type == "exec", nil)
				if request.Type == "exec" {
					group.Go(func() { s.run(channel, string(request.Payload[4:])) })
				}
			}
		})
	}
}

// run is what the server has for programs.
func (s *server) run(channel ssh.Channel, line string) {
	program, arg, _ := strings.Cut(line, " ")
	var status uint32
	switch program {
	case "cat":
		_, _ = io.Copy(channel, channel)
	case "drain":
		_, _ = io.Copy(io.Discard, channel)
	case "exit":
		n, _ := strconv.Atoi(arg)
		status = uint32(n)
	case "complain":
		_, _ = io.WriteString(channel.Stderr(), arg)
		status = 1
	case "vanish":
		_ = channel.Close()
		return
	case "hang":
		return
	case "meet":
		select {
		case other := <-s.meeting:
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(other, channel)
				exit(other, 0)
			}()
			_, _ = io.Copy(channel, other)
			exit(channel, 0)
			<-done
			return
		case s.meeting <- channel:
			return
		}
	}
	exit(channel, status)
}

func exit(channel ssh.Channel, status uint32) {
	_ = channel.CloseWrite()
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{status}))
	_ = channel.Close()
}
