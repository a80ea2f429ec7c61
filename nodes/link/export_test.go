// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"time"
)

// Words is words.
func Words(text string) ([]string, error) { return words(text) }

// Wildcard is wildcard.
func Wildcard(pattern, name string) bool { return wildcard(pattern, name) }

// Directives is how many directives a text has.
func Directives(text string) (int, error) {
	list, err := directives(text)
	return len(list), err
}

// Known is how many lines of a known_hosts file are about a host.
func Known(file, host string) int {
	n := 0
	for _, line := range readKnown([]string{file}) {
		if line.names(host) {
			n++
		}
	}
	return n
}

// Hop is what the tests look at of a hop.
type Hop struct {
	Server, Known, Principal, Network, Command, Agent, Strict string
	Keys, Certificates, Users, Globals                        []string
	Only, Hashed                                              bool
	Timeout                                                   time.Duration
}

// Route returns the servers on the way that a Config goes.
func Route(cfg Config) ([]Hop, error) {
	d, err := newDialer(cfg)
	if err != nil {
		return nil, err
	}
	var list []Hop
	for _, h := range d.route {
		list = append(list, Hop{Server: h.String(), Known: h.known, Principal: h.principal, Network: h.network, Command: h.command,
			Agent: h.agent, Strict: h.strict, Keys: h.keys, Certificates: h.certificates, Users: h.users, Globals: h.globals, Only: h.only,
			Hashed: h.hashed, Timeout: h.timeout})
	}
	return list, nil
}

// WithPatience is withPatience, with what pauses and resumes it.
func WithPatience(ctx context.Context, after time.Duration) (patient context.Context, pause, resume, end func()) {
	ctx, p := withPatience(ctx, after)
	return ctx, p.pause, p.resume, p.end
}
