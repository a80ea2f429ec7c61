// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/manifestlist"
)

// registries are what is asked over the network.
type registries struct {
	client *manifestlist.Client
	given  []string
	clock  clock
}

// answer is what a registry said.
type answer struct {
	host    string
	reached manifestlist.Reached
	err     error
}

// look asks each registry, those that docker is logged in to first, and compares the clocks.
func (r registries) look(ctx context.Context) []Check {
	hosts, err := manifestlist.Logins()
	var out []Check
	if err != nil {
		out = append(out, Check{
			Name: "registries", Status: Limited, Found: err.Error(), Then: "builds have no credentials", Mend: hintOf(err),
		})
	}
	for _, host := range r.given {
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	for _, a := range r.ask(ctx, hosts) {
		out = append(out, judgeRegistry(a))
		r.clock.compare(a.host, a.reached.Ahead)
	}
	r.clock.now = time.Now()
	return append([]Check{judgeClock(r.clock)}, out...)
}

func (r registries) ask(ctx context.Context, hosts []string) []answer {
	out := make([]answer, len(hosts))
	var group errgroup.Group
	for i, host := range hosts {
		group.Go(func() error {
			a, ok := within(ctx, registryWait, func(ctx context.Context) answer {
				reached, err := r.client.Ping(ctx, host)
				if errors.Is(err, context.DeadlineExceeded) {
					err = &silentError{host}
				}
				return answer{host, reached, err}
			})
			if !ok {
				// All else ends in time.
				a = answer{host: host, err: &helperError{host}}
			}
			out[i] = a
			return nil
		})
	}
	_ = group.Wait() // Its functions return no errors.
	return out
}

// silentError is a registry that does not answer.
type silentError struct{ host string }

func (e *silentError) Error() string { return noAnswer(registryWait) }
func (e *silentError) Hint() string {
	return fmt.Sprintf("check the network, a proxy or a firewall: curl -v https://%s/v2/", e.host)
}

// helperError is a credential helper that does not answer.
type helperError struct{ host string }

func (e *helperError) Error() string {
	return "the credential helper of docker's config.json gave " + noAnswer(registryWait)
}
func (e *helperError) Hint() string {
	return "see credsStore and credHelpers in docker's config.json, or log in again: docker login " + e.host
}

func judgeRegistry(a answer) Check {
	out := Check{Name: "registry " + a.host, Status: OK, Found: "reached, anonymous"}
	if a.reached.User != "" {
		out.Found = "reached, logged in as " + a.reached.User
	}
	if a.reached.Plain {
		out.Found += ", plain HTTP"
	}
	var credentials *manifestlist.CredentialsError
	switch {
	case a.err == nil:
		return out
	case errors.As(a.err, &credentials):
		out.Status, out.Found, out.Mend = Limited, "reached, but "+a.err.Error(), hintOf(a.err)
		out.Then = "builds that pull from it or push to it fail"
		return out
	}
	return failed(out.Name, a.err)
}

// clock is what this machine's time is compared with.
type clock struct {
	now, built, newest time.Time
	// off is the registry that this machine differs most from, and by how much it is ahead.
	off   string
	ahead time.Duration
	// asked counts the registries that told a time.
	asked int
}

func (c *clock) compare(host string, ahead *time.Duration) {
	if ahead == nil {
		return
	}
	c.asked++
	if ahead.Abs() >= c.ahead.Abs() {
		c.off, c.ahead = host, *ahead
	}
}

// slack is by how much clocks may differ without harm.
const slack = time.Minute

func judgeClock(c clock) Check {
	const mend = "sudo timedatectl set-ntp true, or set it: sudo date -s 'YYYY-MM-DD hh:mm'"
	out := Check{Name: "clock", Status: OK, Found: c.now.Format(time.RFC3339)}
	at := func(t time.Time) string { return t.Local().Format(time.RFC3339) }
	switch {
	case c.ahead.Abs() > slack:
		way := "ahead of"
		if c.ahead < 0 {
			way = "behind"
		}
		out.Status, out.Mend = Limited, mend
		out.Found += fmt.Sprintf(", %s %s %s", c.ahead.Abs().Round(time.Second), way, c.off)
		out.Then = "tokens and certificates may be taken for expired, and images get wrong times"
	case c.asked > 0:
		out.Found += ", as " + c.off + " has it"
	case !c.built.IsZero() && c.now.Add(slack).Before(c.built):
		out.Status, out.Mend = Missing, mend
		out.Found += ", before this program was made (" + at(c.built) + "), so certificates are taken for not valid yet"
	case c.now.Add(slack).Before(c.newest):
		out.Status, out.Mend = Missing, mend
		out.Found += ", before the newest file of the solver's state (" + at(c.newest) + "), so certificates are taken for not valid yet"
	}
	return out
}
