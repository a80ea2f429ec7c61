// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

func TestListeningCheck(t *testing.T) {
	halfTLS := solver.TLS{Cert: "c", Key: "k"}
	badTLS := solver.TLS{Cert: "/nowhere/c", Key: "/nowhere/k", CA: "/nowhere/ca"}
	for _, test := range []struct {
		rule, address string
		tls           solver.TLS
		err, hint     string
	}{
		{"a socket", "unix:///run/x/s", solver.TLS{}, "", ""},
		{"the loopback", "tcp://127.0.0.1:1234", solver.TLS{}, "", ""},
		{"the loopback's name", "tcp://localhost:1234", solver.TLS{}, "", ""},
		{"the loopback of IPv6", "tcp://[::1]:1234", solver.TLS{}, "", ""},
		{"everybody", "tcp://0.0.0.0:1234", solver.TLS{}, `serving on "tcp://0.0.0.0:1234": without TLS`, "--tlscert"},
		{"everybody, in short", "tcp://:1234", solver.TLS{}, `without TLS`, "--tlscert"},
		{"a name that anybody could have", "tcp://localhost.example:1", solver.TLS{}, `without TLS`, "--tlscert"},
		{"half of TLS", "tcp://0.0.0.0:1", halfTLS, "--tlscacert is missing", "all three"},
		{"half of TLS on the loopback", "tcp://127.0.0.1:1", halfTLS, "--tlscacert is missing", "all three"},
		{"files that are nowhere", "tcp://0.0.0.0:1", badTLS, `reading "/nowhere/c" and its key`, "PEM files"},
		{"no scheme", "127.0.0.1:1", solver.TLS{}, `understanding the address "127.0.0.1:1"`, "unix:///PATH"},
		{"no port", "tcp://127.0.0.1", solver.TLS{}, `understanding the address`, "tcp://HOST:PORT"},
		{"no path", "unix://", solver.TLS{}, `understanding the address`, "unix:///PATH"},
		{"a relative path", "unix://s", solver.TLS{}, `understanding the address`, "unix:///PATH"},
		{"a path that is too long", "unix:///" + strings.Repeat("d", 107), solver.TLS{}, `understanding the address`, "unix:///PATH"},
		{"another kind", "fd://3", solver.TLS{}, `understanding the address`, "unix:///PATH"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			err := solver.Listening{Addresses: []string{test.address}, TLS: test.tls}.Check()
			if test.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var hinted interface {
				Hint() string
				Usage() bool
			}
			if err == nil || !strings.Contains(err.Error(), test.err) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), test.hint) || !hinted.Usage() {
				t.Errorf("got %v, want %q with the hint %q", err, test.err, test.hint)
			}
		})
	}
}

func TestListeningOpen(t *testing.T) {
	addresses := []string{"unix:///s", "tcp://127.0.0.1:1", "tcp://[::1]:2"}
	if diff := cmp.Diff(addresses[1:], solver.Listening{Addresses: addresses}.Open()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (solver.Listening{Addresses: addresses, TLS: solver.TLS{Cert: "c"}}).Open(); got != nil {
		t.Errorf("with TLS: %q", got)
	}
}
