// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/nodes"
)

// wire is this program's standard input and output, as a coordinator is connected to them.
type wire struct {
	in  *bufio.Reader
	out io.Writer
	// ends are those of the files that waiting can be ended for.
	ends []*os.File
}

func newWire(std streams) *wire {
	w := &wire{out: std.out}
	in := std.in
	if f, ok := std.in.(*os.File); ok {
		if f = pollable(f); f != nil {
			in, w.ends = f, append(w.ends, f)
		}
	}
	if f, ok := std.out.(*os.File); ok {
		if f = pollable(f); f != nil {
			w.out, w.ends = f, append(w.ends, f)
		}
	}
	w.in = bufio.NewReader(in)
	return w
}

// pollable is a file whose reads and writes have deadlines, as pipes and sockets can; nil where that cannot be.
func pollable(f *os.File) *os.File {
	if f.SetDeadline(time.Time{}) == nil {
		return f
	}
	number := int(f.Fd())
	if err := unix.SetNonblock(number, true); err != nil {
		return nil
	}
	if out := os.NewFile(uintptr(number), f.Name()); out != nil && out.SetDeadline(time.Time{}) == nil {
		return out
	}
	_ = unix.SetNonblock(number, false)
	return nil
}

// helloWait is how long a coordinator's first line may take: behind a link that was cut it does not come, and input does not end for hours.
const helloWait = 15 * time.Second

// hello reads the coordinator's first line.
func (w *wire) hello(wait time.Duration) (nodes.Hello, error) {
	late := time.AfterFunc(wait, w.interrupt)
	defer late.Stop()
	return nodes.ReadHello(w.in)
}

// interrupt ends what waits for input or output.
func (w *wire) interrupt() {
	for _, f := range w.ends {
		_ = f.SetDeadline(time.Unix(1, 0))
	}
}

// drain is how long what the solver said last may take to go out.
const drain = 2 * time.Second

// relay copies between the wire and a connection until either ends, and closes the connection. Behind a link that was cut, neither input nor
// output ends by itself for hours, and writing may wait as long: then the solver ends the connection.
func (w *wire) relay(ctx context.Context, conn *net.UnixConn) {
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		// Who waits in hungUp is not woken by closing alone.
		_, _, _ = conn.CloseRead(), conn.CloseWrite(), conn.Close()
		w.interrupt()
	})
	defer stop()
	group.Go(func() error {
		_, err := io.Copy(conn, w.in)
		return errors.Join(err, io.EOF)
	})
	group.Go(func() error {
		_, err := io.Copy(w.out, conn)
		return errors.Join(err, io.EOF)
	})
	group.Go(func() error {
		for ctx.Err() == nil {
			if !hungUp(conn) {
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(drain):
			}
			return io.EOF
		}
		return nil
	})
	_ = group.Wait()
}

// hungUp waits until a connection is closed by either side, or for less, and reports whether it is. Whoever waits for room to write reads nothing,
// and so does not learn of it.
func hungUp(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		// POLLHUP is reported unasked (poll(2)).
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, -1)
	})
	return err != nil || n > 0
}
