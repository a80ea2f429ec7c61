// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	mab "github.com/mab-build/mab/cmd/mab"
)

// TestRelay holds it to ending with either side, whatever the other one does.
func TestRelay(t *testing.T) {
	for _, test := range []struct {
		rule string
		do   func(t *testing.T, in, out *os.File, solver net.Conn)
	}{
		{"both ways, until the coordinator ends", func(t *testing.T, in, out *os.File, solver net.Conn) {
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
		{"the solver ends, and nobody reads or writes on the other side", func(t *testing.T, _, _ *os.File, solver net.Conn) {
			// More than a pipe holds, for which a reader would be needed.
			go func() { _, _ = io.WriteString(solver, strings.Repeat("x", 1<<20)) }()
			time.AfterFunc(100*time.Millisecond, func() { _ = solver.Close() })
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			stdin, in := pipe(t)
			out, stdout := pipe(t)
			solver, conn := net.Pipe()
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
