// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// watched is a connection that counts what comes back.
type watched struct {
	net.Conn
	// reads is how often something came, and greeted whether SSH's greeting was in it.
	reads   atomic.Uint64
	greeted atomic.Bool
	// head is what came before the greeting.
	head []byte
}

// quickReads are those of logging in and of the first sessions.
const quickReads = 64

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		if w.reads.Add(1) <= quickReads {
			acknowledge(w.Conn)
		}
		if !w.greeted.Load() {
			w.head = append(w.head, p[:n]...)
			if bytes.HasPrefix(w.head, []byte("SSH-")) || bytes.Contains(w.head, []byte("\nSSH-")) {
				w.greeted.Store(true)
				w.head = nil
			}
		}
	}
	return n, err
}

// patience is the time that a user has for a whole way. It does not run while the user is asked something.
type patience struct {
	after  time.Duration
	cancel context.CancelCauseFunc
	mu     sync.Mutex
	timer  *time.Timer
	left   time.Duration
	since  time.Time
}

// withPatience returns a context that ends with a SilentError.
func withPatience(ctx context.Context, after time.Duration) (context.Context, *patience) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{after: after, cancel: cancel, left: after}
	p.resume()
	return ctx, p
}

func (p *patience) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Now()
	p.timer = time.AfterFunc(p.left, func() { p.cancel(&SilentError{After: p.after}) })
}

func (p *patience) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Stop()
	p.left -= time.Since(p.since)
}

func (p *patience) end() {
	p.pause()
	p.cancel(context.Canceled)
}

// command connects by a ProxyCommand, as the user's shell runs it.
func command(ctx context.Context, line string, getenv func(string) string) (net.Conn, error) {
	if runtime.GOOS == "windows" {
		return nil, &ConfigError{Err: errors.New("ProxyCommand is not there on Windows"), Mend: "use ProxyJump"}
	}
	shell := getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	// The program outlives the context of connecting; Close ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), shell, "-c", "exec "+line)
	c := &commandConn{cmd: cmd}
	cmd.Stderr = &c.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("running %q: %w", line, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("running %q: %w", line, err)
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("running %q: %w", line, err)
	}
	c.in, c.out = in, out
	return c, nil
}

// commandConn is a program as a connection.
type commandConn struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr tail
	once   sync.Once
}

// Read returns what the program wrote.
func (c *commandConn) Read(p []byte) (int, error) { return c.out.Read(p) }

// Write gives the program its input.
func (c *commandConn) Write(p []byte) (int, error) { return c.in.Write(p) }

// Close ends the program and waits for it. It has a moment for its last words.
func (c *commandConn) Close() error {
	c.once.Do(func() {
		_ = c.in.Close()
		_ = c.out.Close()
		kill := time.AfterFunc(200*time.Millisecond, func() { _ = c.cmd.Process.Kill() })
		// How it ended does not matter any more.
		_ = c.cmd.Wait()
		kill.Stop()
	})
	return nil
}

// LocalAddr names the program.
func (c *commandConn) LocalAddr() net.Addr { return name("") }

// RemoteAddr names the program.
func (c *commandConn) RemoteAddr() net.Addr { return name(c.cmd.String()) }

// SetDeadline is not there: the handshake is ended by Close.
func (c *commandConn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline is not there.
func (c *commandConn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline is not there.
func (c *commandConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// name is an address that is only told.
type name string

// Network names no network that can be dialled.
func (n name) Network() string { return "ssh" }

// String is what is on the other side.
func (n name) String() string { return string(n) }

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// maxTail is how much of a program's stderr is kept.
const maxTail = 8 << 10

// Write takes everything.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > maxTail {
		t.text = append([]byte(nil), t.text[len(t.text)-maxTail:]...)
	}
	return len(p), nil
}

// String is the end, 8 KiB at most.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
