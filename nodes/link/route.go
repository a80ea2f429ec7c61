// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"slices"
	"strings"
)

// planner finds the way to a host in the user's files.
type planner struct {
	files []string
	at    place
	note  func(text string)
}

// route returns the servers on the way to a host, which is the last of them.
func (p *planner) route(to spec) ([]hop, error) {
	hops, err := p.via(to, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("reaching %s: %w", to.host, err)
	}
	return hops, nil
}

// via is route with other jump hosts than those of the files, unless jumps is nil. Seen are the hosts that want to be reached through this one.
func (p *planner) via(to spec, jumps []spec, seen []spec) ([]hop, error) {
	if slices.Contains(seen, to) {
		var names []string
		for _, s := range append(seen, to) {
			names = append(names, s.host)
		}
		return nil, &ConfigError{
			Err:  fmt.Errorf("the jump hosts go in a circle: %s", strings.Join(names, " → ")),
			Mend: fmt.Sprintf("put this at the top of ~/.ssh/config: Host %s, and below it: ProxyJump none", to.host),
		}
	}
	r := reader{home: p.at.home, host: to.host, user: to.user, localUser: p.at.user, note: p.note}
	s, err := r.read(p.files)
	if err != nil {
		return nil, err
	}
	if canonical := s.flag("canonicalizehostname"); canonical != "" && canonical != "no" {
		p.note(fmt.Sprintf("passing over CanonicalizeHostname for %s: give it a HostName", to.host))
	}
	h, err := newHop(s, to, p.at)
	if err != nil {
		return nil, &ConfigError{Err: err}
	}
	if jumps == nil {
		jumps = h.jumps
	}
	if len(jumps) == 0 {
		return []hop{h}, nil
	}
	// As with ssh -J, which runs another ssh with the last of the hosts and hands it the others; the first one's own file counts again.
	last, others := jumps[len(jumps)-1], jumps[:len(jumps)-1]
	if len(others) == 0 {
		others = nil
	}
	before, err := p.via(last, others, append(seen, to))
	if err != nil {
		return nil, err
	}
	return append(before, h), nil
}
