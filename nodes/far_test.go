// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mab-build/mab/nodes"
)

func TestFarSocket(t *testing.T) {
	for _, test := range []struct {
		rule  string
		there func(there net.Conn)
		want  string
	}{
		{"a solver speaks first", func(there net.Conn) { _, _ = io.WriteString(there, "settings") }, ""},
		{"a socket that is silent", func(net.Conn) {}, "connecting to /run/s: it did not answer within 10s"},
		{"a socket that hangs up", func(there net.Conn) { _ = there.Close() }, "connecting to /run/s: it hung up before it said anything"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				go test.there(there)
				conn, err := nodes.FarOver(t.Context(), here, "/run/s")
				if test.want != "" {
					if err == nil || !strings.Contains(err.Error(), test.want) {
						t.Fatalf("got %v, want %q", err, test.want)
					}
					if _, err := there.Write([]byte("x")); err == nil {
						t.Error("the connection stays open")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len("settings"))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != "settings" {
					t.Errorf("got %q, %v", got, err)
				}
			})
		})
	}
}
