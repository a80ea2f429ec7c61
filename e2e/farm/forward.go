// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// inNetwork calls open on a thread that is in the network namespace of a process. What it opens belongs there for ever.
func inNetwork[T any](pid int, open func() (T, error)) (T, error) {
	var zero T
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return zero, err
	}
	defer there.Close()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return zero, err
	}
	defer here.Close()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	var group errgroup.Group
	group.Go(func() error {
		// A thread that does not find back ends with the goroutine, since it stays locked.
		runtime.LockOSThread()
		var r result
		if r.err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); r.err == nil {
			r.value, r.err = open()
		}
		if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- r
		return nil
	})
	_ = group.Wait() // Its function returns no error.
	r := <-done
	return r.value, r.err
}

// forward hands connections on, or keeps them.
type forward struct {
	addr     string
	listener net.Listener
	// dial connects to where they are handed on to; nil accepts and says nothing.
	dial func() (net.Conn, error)
	// delay is how much later each byte arrives, each way.
	delay time.Duration
	group errgroup.Group

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]bool
}

// dial connects to an address, which is no name.
func dial(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 10*time.Second) } //nolint:noctx // it ends in time

// forwardHere hands connections to an address of this machine on to another.
func forwardHere(from, to string) (*forward, error) {
	listener, err := net.Listen("tcp", from) //nolint:noctx // it ends at once
	if err != nil {
		return nil, err
	}
	f := &forward{listener: listener, dial: func() (net.Conn, error) { return dial(to) }}
	f.serve()
	return f, nil
}

// Forward makes an address of the host's loopback, as in localhost:5000, lead to an address that is reached over the host's network.
func (h *Host) Forward(from, to string) error {
	if h.cfg.Behind != "" {
		// There is no way from there, and no test that wants one.
		return h.forward(from, func() (net.Conn, error) { return dial(to) }, 0)
	}
	return h.forward(from, func() (net.Conn, error) {
		return inNetwork(h.holder.pid(), func() (net.Conn, error) { return dial(to) })
	}, 0)
}

// StopForwarding ends what Forward made lead somewhere, with its connections. Nothing listens there then.
func (h *Host) StopForwarding(from string) error {
	from = strings.Replace(from, "localhost:", "127.0.0.1:", 1)
	for _, f := range h.forwards {
		if f.addr == from {
			return f.Close()
		}
	}
	return fmt.Errorf("nothing is forwarded from %q", from)
}

// Delayed is a port of the host that leads to its sshd, each byte being late by so much, each way.
func (h *Host) Delayed(by time.Duration) (int, error) {
	err := h.forward(h.addr+":0", func() (net.Conn, error) {
		return inNetwork(h.holder.pid(), func() (net.Conn, error) { return dial("127.0.0.1:22") })
	}, by)
	return h.lastPort(), err
}

// Silent is a port of the host that accepts connections and says nothing.
func (h *Host) Silent() (int, error) {
	err := h.forward(h.addr+":0", nil, 0)
	return h.lastPort(), err
}

func (h *Host) lastPort() int {
	if len(h.forwards) == 0 {
		return 0
	}
	return h.forwards[len(h.forwards)-1].listener.Addr().(*net.TCPAddr).Port
}

func (h *Host) forward(from string, dial func() (net.Conn, error), delay time.Duration) error {
	from = strings.Replace(from, "localhost:", "127.0.0.1:", 1)
	listener, err := inNetwork(h.holder.pid(), func() (net.Listener, error) { return net.Listen("tcp", from) }) //nolint:noctx // it ends at once
	if err != nil {
		return fmt.Errorf("forwarding %q of %s: %w", from, h.cfg.Name, err)
	}
	f := &forward{listener: listener, dial: dial, delay: delay}
	f.serve()
	h.forwards = append(h.forwards, f)
	return nil
}

func (f *forward) serve() {
	f.addr = f.listener.Addr().String()
	f.open = map[net.Conn]bool{}
	f.group.Go(func() error {
		for {
			conn, err := f.listener.Accept()
			if err != nil {
				return nil //nolint:nilerr // that is how it ends
			}
			f.group.Go(func() error {
				f.join(conn)
				return nil
			})
		}
	})
}

// Close ends the listening and every connection. It may be called again.
func (f *forward) Close() error {
	f.mu.Lock()
	f.closed = true
	for conn := range f.open {
		_ = conn.Close()
	}
	f.mu.Unlock()
	err := f.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, f.group.Wait())
}

// hold keeps a connection until Close; false if that was already.
func (f *forward) hold(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.open[conn] = true
	}
	return !f.closed
}

func (f *forward) drop(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, conn)
	_ = conn.Close()
}

// join copies between a connection and a new one until both have nothing more to say. Who dials sees what went wrong.
func (f *forward) join(in net.Conn) {
	defer f.drop(in)
	if !f.hold(in) {
		return
	}
	if f.dial == nil {
		_, _ = io.Copy(io.Discard, in)
		return
	}
	out, err := f.dial()
	if err != nil {
		return
	}
	defer f.drop(out)
	if !f.hold(out) {
		return
	}
	var group errgroup.Group
	group.Go(func() error { return f.pour(out, in) })
	group.Go(func() error { return f.pour(in, out) })
	_ = group.Wait() // The ends of the connection have seen it.
}

// pour copies from one to the other and says there that this was all.
func (f *forward) pour(to, from net.Conn) error {
	var err error
	if f.delay == 0 {
		_, err = io.Copy(to, from)
	} else {
		err = copyLate(to, from, f.delay)
	}
	if half, ok := to.(*net.TCPConn); ok && err == nil {
		return half.CloseWrite()
	}
	return errors.Join(err, to.Close(), from.Close())
}

// copyLate copies, every byte being late by so much; how fast they come does not change.
func copyLate(to io.Writer, from io.Reader, by time.Duration) error {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 1<<14)
	var group errgroup.Group
	group.Go(func() error {
		defer close(pieces)
		for {
			data := make([]byte, 32<<10)
			n, err := from.Read(data)
			if n > 0 {
				pieces <- piece{time.Now().Add(by), data[:n]}
			}
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return err
			}
		}
	})
	var failed error
	for p := range pieces {
		if failed == nil {
			time.Sleep(time.Until(p.due))
			_, failed = to.Write(p.data)
		}
	}
	return errors.Join(failed, group.Wait())
}
