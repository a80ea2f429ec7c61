// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-multierror"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

// answerWait is how long a solver that was reached may take to say what it can, if nothing else is said.
const answerWait = 10 * time.Second

// member is a node that answered, with what is needed to build on it.
type member struct {
	nodes.Node
	client *solver.Client
	info   solver.Info
	// reached is the link to it. Nil: the local node.
	reached *nodes.Reached
}

// absence says in a line that a node takes no part, with what mends it.
func absence(f Found) string {
	text := "not used: " + f.Err.Error()
	if f.Node.URL == nodes.Local {
		text = nodes.Local + " is " + text
	}
	if mend := hints([]error{f.Err}); mend != "" {
		text += "; mend: " + mend
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

// open reaches one node and asks it what it can.
func open(ctx context.Context, c LookConfig, e nodes.Entry) (*member, error) {
	m := &member{Node: nodes.Node{Entry: e}}
	var err error
	if e.URL == nodes.Local {
		m.client, m.info, err = solver.Attach(ctx, c.Attach)
	} else {
		err = m.reach(ctx, c.Reach)
	}
	if err != nil {
		return nil, err
	}
	m.Info = abilities(m.info)
	if m.reached != nil {
		m.Info.Latency = m.reached.Latency().Seconds()
	}
	return m, nil
}

func (m *member) reach(ctx context.Context, cfg nodes.Config) (err error) {
	if m.reached, err = nodes.Reach(ctx, m.Entry, cfg); err != nil {
		return err
	}
	wait := cmp.Or(cfg.Timeout, answerWait)
	asking, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if m.client, m.info, err = solver.Over(asking, m.reached.Dial); err == nil {
		return nil
	}
	if asking.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("asking the solver: no answer within %s", wait)
	}
	return errors.Join(&LostError{Node: m.Name, err: err}, m.reached.Close())
}

// abilities is what a solver said of itself, as a plan reads it.
func abilities(info solver.Info) nodes.Info {
	out := nodes.Info{Survey: info.Survey, Machine: nodes.Machine(info.Machine), Running: info.Running}
	if len(info.Platforms) > 0 {
		out.Own = info.Platforms[0]
	}
	return out
}

// gone reports whether the link to the node was lost.
func (m *member) gone() bool {
	if m.reached == nil {
		return false
	}
	select {
	case <-m.reached.Done():
		return true
	default:
		return false
	}
}

// close lets go of the node. What goes wrong with one that is lost anyway says nothing new.
func (m *member) close() error {
	err := m.client.Close()
	if m.reached != nil {
		_ = m.reached.Close()
		return nil
	}
	return err
}

// gather reaches all nodes of a build at once. Those that answer come in the user's order; it fails only if none does.
func (c *Coordinator) gather(ctx context.Context) (members []*member, absent []Found, err error) {
	entries := c.cfg.Nodes
	if len(entries) == 0 {
		entries = []nodes.Entry{{Name: nodes.Local, URL: nodes.Local}}
	}
	known := openAcquaintances(c.cfg.Attach.State)
	found, opened := make([]Found, len(entries)), make([]*member, len(entries))
	var group errgroup.Group
	for i, e := range entries {
		group.Go(func() error {
			began := time.Now()
			m, err := open(ctx, LookConfig{Attach: c.cfg.Attach, Reach: known.patience(c.cfg.Reach, e)}, e)
			opened[i], found[i] = m, Found{Node: nodes.Node{Entry: e}, Took: time.Since(began), Err: err}
			return nil
		})
	}
	_ = group.Wait() // The errors are in found.
	for i, f := range found {
		if f.Err != nil {
			absent = append(absent, f)
			continue
		}
		known.recall(f.Node.Entry, &opened[i].Info)
		members = append(members, opened[i])
	}
	if ctx.Err() == nil {
		known.meet(found)
	}
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("reaching the nodes: %w", ctx.Err())
	case len(members) > 0:
		return members, absent, nil
	case len(entries) == 1 && entries[0].URL == nodes.Local:
		err = found[0].Err
	default:
		err = newUnreachableError(absent)
	}
	return nil, nil, errors.Join(err, closeAll(members))
}

func closeAll(members []*member) error {
	errs := make([]error, len(members))
	for i, m := range members {
		errs[i] = m.close()
	}
	return errors.Join(errs...)
}

// local is the member that is this machine; nil if it takes no part.
func local(members []*member) *member {
	for _, m := range members {
		if m.reached == nil {
			return m
		}
	}
	return nil
}

// leads are the members in the order in which they are to run the frontend: this machine first, which has the files.
func leads(members []*member) []*member {
	out := slices.Clone(members)
	slices.SortStableFunc(out, func(a, b *member) int {
		switch {
		case a.reached == nil && b.reached != nil:
			return -1
		case a.reached != nil && b.reached == nil:
			return 1
		}
		return 0
	})
	return out
}

// UnreachableError is a build none of whose nodes answered. Nothing was started.
type UnreachableError struct{ errs *multierror.Error }

func newUnreachableError(absent []Found) *UnreachableError {
	out := &UnreachableError{errs: &multierror.Error{}}
	for _, f := range absent {
		err := f.Err
		if f.Node.URL == nodes.Local {
			err = fmt.Errorf("%s: %w", nodes.Local, err) // Those of others name their node.
		}
		out.errs = multierror.Append(out.errs, err)
	}
	return out
}

// Error names each node and what is wrong with it, in a line each.
func (e *UnreachableError) Error() string {
	lines := make([]string, len(e.errs.Errors))
	for i, err := range e.errs.Errors {
		lines[i] = "no node answers: " + err.Error()
	}
	return strings.Join(lines, "\n")
}

// Hint gives what mends each, once.
func (e *UnreachableError) Hint() string { return hints(e.errs.Errors) }

// Lost reports true: the build may succeed elsewhere.
func (*UnreachableError) Lost() bool { return true }

// Unwrap gives the causes.
func (e *UnreachableError) Unwrap() error { return e.errs }

// hints joins the hints of errors, each once.
func hints(errs []error) string {
	var out []string
	for _, err := range errs {
		var mendable interface{ Hint() string }
		if errors.As(err, &mendable) && mendable.Hint() != "" && !slices.Contains(out, mendable.Hint()) {
			out = append(out, mendable.Hint())
		}
	}
	return strings.Join(out, "\n")
}
