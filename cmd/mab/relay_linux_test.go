// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mab "github.com/mab-build/mab/cmd/mab"
)

// TestRelay holds it to ending with either side, whatever the other one does.
func TestRelay(t *testing.T) {
	for _, test := range []struct {
		rule string
		do   func(t *testing.T, in, out *os.File, solver *net.UnixConn)
	}{
		{"both ways, until the coordinator ends", func(t *testing.T, in, out *os.File, solver *net.UnixConn) {
			if _, err := io.WriteString(in, "question"); err != nil {
				t.Fatal(err)
			}
			expect(t, solver, "question")
			if _, err := io.WriteString(solver, "answer"); err != nil {
				t.Fatal(err)
			}
			expect(t, out, "answer")
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
		}},
		{"the solver ends, and nobody reads or writes on the other side", func(t *testing.T, _, _ *os.File, solver *net.UnixConn) {
			// More than a pipe holds, for which a reader would be needed.
			if err := solver.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(solver, strings.Repeat("x", 4<<20)); err == nil {
				t.Fatal("somebody reads")
			}
			if err := solver.Close(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			stdin, in := pipe(t)
			out, stdout := pipe(t)
			solver, conn := connected(t)
			ended := make(chan struct{})
			go func() {
				mab.Relay(t.Context(), stdin, stdout, conn)
				close(ended)
			}()
			test.do(t, in, out, solver)
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("it does not end")
			}
			if _, err := solver.Write([]byte("x")); err == nil {
				t.Error("the connection to the solver is open")
			}
		})
	}
}

// TestHelloComesInTime is about a link that is cut before the coordinator's first line.
func TestHelloComesInTime(t *testing.T) {
	silent, _ := pipe(t)
	_, stdout := pipe(t)
	if _, err := mab.Hello(silent, stdout, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	stdin, in := pipe(t)
	if _, err := io.WriteString(in, `{"protocol":1,"mab":"v7"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	if hello, err := mab.Hello(stdin, stdout, time.Minute); err != nil || hello.Mab != "v7" {
		t.Errorf("got %+v, %v", hello, err)
	}
}

// connected are the two ends of a connection.
func connected(t *testing.T) (solver, conn *net.UnixConn) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err == nil {
		conn, err = net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr))
	}
	if err == nil {
		solver, err = listener.AcceptUnix()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = listener.Close(), conn.Close(), solver.Close() })
	return solver, conn
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}
