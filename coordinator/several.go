// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/solver"
)

// Named is a request among others that are built together, as the targets of a bake file are.
type Named struct {
	// Name is what the others know it by, and the user. Of a request that is built alone nobody is told it.
	Name string
	Request
	// Links are the named contexts of the request that are results of others, by the name of the context: their values are Names.
	Links map[string]string
}

// BuildAll builds several requests together, by one plan: what they share is done once. The results come in their order. If one fails,
// nothing of any is written; what is written of them is, as for Build, files first, then what engines load, then the tags of the registry.
// What says how a build is planned, and whether it goes on after a failure, is to be the same for all.
func (c *Coordinator) BuildAll(ctx context.Context, list []Named) ([]*Result, error) {
	all, closing, err := receive(ctx, list)
	if err != nil {
		return nil, errors.Join(err, closing())
	}
	out, err := c.received(ctx, all)
	if err := errors.Join(err, closing()); err != nil {
		return nil, err
	}
	return out, nil
}

// received is BuildAll of what was received, without the nodes to avoid.
func (c *Coordinator) received(ctx context.Context, list []*commission, avoid ...Exclusion) ([]*Result, error) {
	out, err := c.attempt(ctx, afresh(list), avoid...)
	// A solver that was just stopping when the build came has done nothing of it.
	var early *earlyError
	if errors.As(err, &early) {
		out, err = c.attempt(ctx, afresh(list), avoid...)
	}
	if errors.As(err, &early) {
		err = early.err
	}
	return out, err
}

// PlanAll says what BuildAll would do, and does nothing of it.
func (c *Coordinator) PlanAll(ctx context.Context, list []Named) (*Plan, error) {
	all, closing, err := receive(ctx, list)
	if err != nil {
		return nil, errors.Join(err, closing())
	}
	plan, err := c.plan(ctx, all)
	return plan, errors.Join(err, closing())
}

// receive checks requests and reads their inputs. The caller calls closing whether or not there is an error.
func receive(ctx context.Context, list []Named) (all []*commission, closing func() error, err error) {
	closing = func() error {
		var errs []error
		for _, c := range all {
			errs = append(errs, c.input.Close())
		}
		return errors.Join(errs...)
	}
	if all, err = commissions(list); err != nil {
		return nil, closing, err
	}
	for _, c := range all {
		if err := c.request.Validate(); err != nil {
			return all, closing, c.wrap(err)
		}
	}
	for _, c := range all {
		if c.input, err = c.request.Receive(ctx); err != nil {
			return all, closing, c.wrap(err)
		}
	}
	if len(all) > 1 {
		err = distinguish(all)
	}
	return all, closing, err
}

// commissions are those of requests, with what links them. The error is the user's.
func commissions(list []Named) ([]*commission, error) {
	if len(list) == 0 {
		return nil, usage{errors.New("building: there is nothing to build")}
	}
	out := make([]*commission, len(list))
	named := map[string]bool{}
	for i := range list {
		n := &list[i]
		request := n.Request
		out[i] = &commission{name: n.Name, request: &request}
		switch {
		case len(list) > 1 && n.Name == "":
			return nil, usage{errors.New("building several targets: one has no name")}
		case named[n.Name]:
			return nil, usage{fmt.Errorf("building several targets: two are named %s", n.Name)}
		case !alike(&list[0].Request, &request):
			return nil, usage{fmt.Errorf("building several targets: %s is to be planned in another way than %s", n.Name, list[0].Name)}
		}
		named[n.Name] = true
	}
	for _, check := range []func() error{
		func() error { return link(out, list) },
		func() error { return acyclic(out) },
		func() error { return oneOnStdout(out) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if len(out) == 1 {
		out[0].name = ""
	}
	return out, nil
}

// link gives commissions those that they are made of the results of.
func link(all []*commission, list []Named) error {
	for i, c := range all {
		for _, name := range sortedNames(list[i].Links) {
			at := slices.IndexFunc(all, func(other *commission) bool { return other.name == list[i].Links[name] })
			if at < 0 {
				return usage{fmt.Errorf("target %s: its context %q is the result of target %q, which is not built", c.name, name, list[i].Links[name])}
			}
			if c.links == nil {
				c.links = map[string]*commission{}
			}
			c.links[solver.ContextName(name)] = all[at]
		}
	}
	return nil
}

// oneOnStdout returns an error if several requests have an output that goes to standard output.
func oneOnStdout(list []*commission) error {
	var first *commission
	for _, c := range list {
		switch {
		case !c.request.UsesStdout():
		case first == nil:
			first = c
		default:
			return usage{fmt.Errorf("building several targets: %s and %s both have an output that goes to standard output", first.name, c.name)}
		}
	}
	return nil
}

// alike reports whether two requests want to be planned in the same way.
func alike(a, b *Request) bool {
	return slices.Equal(a.Strategies, b.Strategies) && a.EmulationImage == b.EmulationImage && a.Build == b.Build &&
		a.EmulatedTimeout == b.EmulatedTimeout && a.Assist.Off == b.Assist.Off && slices.Equal(a.Assist.Only, b.Assist.Only) && a.CheckAssist == b.CheckAssist && a.NoSplit == b.NoSplit && a.KeepGoing == b.KeepGoing
}

// acyclic returns an error if a request is made of its own result.
func acyclic(list []*commission) error {
	done := map[*commission]bool{}
	var walk func(c *commission, path []string) error
	walk = func(c *commission, path []string) error {
		if at := slices.Index(path, c.name); at >= 0 {
			return usage{fmt.Errorf("building several targets: %s is made of its own result: %s", c.name, strings.Join(append(path[at:], c.name), " of "))}
		}
		if done[c] {
			return nil
		}
		for _, name := range sortedNames(c.links) {
			if err := walk(c.links[name], append(path, c.name)); err != nil {
				return err
			}
		}
		done[c] = true
		return nil
	}
	for _, c := range list {
		if err := walk(c, nil); err != nil {
			return err
		}
	}
	return nil
}

func sortedNames[T any](of map[string]T) []string { return slices.Sorted(maps.Keys(of)) }

// afresh copies commissions for a try, which finds out what requests leave open.
func afresh(list []*commission) []*commission {
	out := make([]*commission, len(list))
	copies := map[*commission]*commission{}
	for i, c := range list {
		request := *c.request
		out[i] = &commission{name: c.name, request: &request, input: c.input, renaming: c.renaming}
		copies[c] = out[i]
	}
	for i, c := range list {
		for name, linked := range c.links {
			if out[i].links == nil {
				out[i].links = map[string]*commission{}
			}
			out[i].links[name] = copies[linked]
		}
	}
	return out
}

// contexts are what the frontend gets of others' results.
func (c *commission) contexts() map[string][]solver.Target {
	if len(c.links) == 0 {
		return nil
	}
	out := map[string][]solver.Target{}
	for name, linked := range c.links {
		out[name] = linked.targets
	}
	return out
}

// distinguish gives local directories and OCI layouts that have one name in several requests, and are not the same, names of their own,
// and refuses secrets and agents that cannot be told apart.
func distinguish(list []*commission) error {
	locals, stores := newNaming(), newNaming()
	all := make([]solver.Locals, len(list))
	for i, c := range list {
		var err error
		if all[i], err = c.request.Locals(c.input); err != nil {
			return c.wrap(err)
		}
		locals.add(all[i].Directories)
		stores.add(all[i].Stores)
	}
	for i, c := range list {
		c.renaming = crossbuild.Renaming{Locals: locals.names(all[i].Directories), Stores: stores.names(all[i].Stores)}
	}
	for _, c := range list {
		for _, other := range c.beneath() {
			if kind, id := clash(c.request, other.request); id != "" {
				return &clashError{c.name, other.name, kind, id}
			}
		}
	}
	return nil
}

// naming tells things of a name apart.
type naming map[string][]string // the things of each name, in the order in which they came

func newNaming() naming { return naming{} }

func (n naming) add(things map[string]string) {
	for _, name := range sortedNames(things) {
		if !slices.Contains(n[name], things[name]) {
			n[name] = append(n[name], things[name])
		}
	}
}

// names are the new names of those that share theirs with others.
func (n naming) names(things map[string]string) map[string]string {
	out := map[string]string{}
	for name, thing := range things {
		if len(n[name]) > 1 {
			out[name] = fmt.Sprintf("%s@%d", name, slices.Index(n[name], thing)+1)
		}
	}
	return out
}

// clash finds a secret or an agent that two requests have under one id from different places.
func clash(a, b *Request) (kind, id string) {
	for _, lists := range []struct {
		kind string
		a, b []string
	}{{"secret", a.Secrets, b.Secrets}, {"ssh agent", a.SSH, b.SSH}} {
		mine, theirs := byID(lists.a), byID(lists.b)
		for _, id := range sortedNames(mine) {
			if from, ok := theirs[id]; ok && from != mine[id] {
				return lists.kind, id
			}
		}
	}
	return "", ""
}

// clashError is a request that is made of another's result and gives it another secret.
type clashError struct{ name, other, kind, id string }

// Error names both requests.
func (e *clashError) Error() string {
	return fmt.Sprintf("target %s: it is made of target %s, and the two have different sources for the %s %q", e.name, e.other, e.kind, e.id)
}

// Hint says how to tell them apart.
func (e *clashError) Hint() string {
	return fmt.Sprintf("give the %s of one of them another id, or both the same source", e.kind)
}

// Usage marks the error as the user's, for the exit code.
func (*clashError) Usage() bool { return true }

// byID are entries in docker's form by their ids.
func byID(list []string) map[string]string {
	out := map[string]string{}
	for _, entry := range list {
		out[solver.EntryID(entry)] = entry
	}
	return out
}

// own tells what steps of each request are not the same by as those of others: secrets and agents that have not one source for an id, and steps
// that are to be run anew in one request and not in another.
func (r *run) own() map[*commission]crossbuild.Own {
	out := map[*commission]crossbuild.Own{}
	if !r.several() {
		return out
	}
	secrets, agents := differing(r.commissions, func(c *Request) []string { return c.Secrets }), differing(r.commissions, func(c *Request) []string { return c.SSH })
	first := r.common()
	cached := slices.ContainsFunc(r.commissions, func(c *commission) bool {
		return c.request.NoCache != first.NoCache || !slices.Equal(c.request.NoCacheFilter, first.NoCacheFilter)
	})
	for _, c := range r.commissions {
		all := append(c.beneath(), c)
		own := crossbuild.Own{Secrets: map[string]string{}, SSH: map[string]string{}, NoCache: cached}
		for _, id := range secrets {
			own.Secrets[id] = source(all, id, func(c *Request) []string { return c.Secrets })
		}
		for _, id := range agents {
			own.SSH[id] = source(all, id, func(c *Request) []string { return c.SSH })
		}
		out[c] = own
	}
	return out
}

// differing are the ids that do not stand for the same in all requests.
func differing(list []*commission, of func(*Request) []string) []string {
	first := map[string]string{}
	count := map[string]int{}
	differ := map[string]bool{}
	for _, c := range list {
		for id, from := range byID(of(c.request)) {
			if was, ok := first[id]; ok && was != from {
				differ[id] = true
			}
			first[id] = from
			count[id]++
		}
	}
	for id, n := range count {
		if n < len(list) {
			differ[id] = true
		}
	}
	return sortedNames(differ)
}

// source is what an id stands for in the session of requests.
func source(list []*commission, id string, of func(*Request) []string) string {
	for _, c := range list {
		if from, ok := byID(of(c.request))[id]; ok {
			return from
		}
	}
	return ""
}
