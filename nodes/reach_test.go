// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mab-build/mab/nodes"
)

func TestReachASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			// A server of HTTP/2 speaks first.
			_, _ = io.WriteString(conn, "hello")
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	entry := nodes.Entry{Name: "own", URL: "unix://" + path}
	r, err := nodes.Reach(t.Context(), entry, nodes.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for want := int32(1); want <= 2; want++ {
		// That by which it was seen to answer is the first.
		conn, err := r.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
		if n := accepted.Load(); n != want {
			t.Errorf("%d connections, want %d", n, want)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if log, err := r.Log(t.Context(), 9); log != "" || err != nil || r.Err() != nil || r.Latency() <= 0 {
		t.Errorf("log %q, %v; %v; latency %v", log, err, r.Err(), r.Latency())
	}
	if err := errors.Join(r.Close(), nodes.Purge(t.Context(), entry, nodes.Config{}, false)); err != nil {
		t.Error(err)
	}
}

func TestReachFails(t *testing.T) {
	for url, want := range map[string]string{
		"local":        `node "n": "local" is no other machine`,
		"ftp://a":      `node "n": `,
		"unix:///none": `node "n": unix:///none: `,
	} {
		_, err := nodes.Reach(t.Context(), nodes.Entry{Name: "n", URL: url}, nodes.Config{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}
