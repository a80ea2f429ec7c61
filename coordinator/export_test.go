// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

// ParseAnnotations is parseAnnotations.
func ParseAnnotations(list []string) (attrs map[string]string, merge manifestlist.MergeOptions, err error) {
	out, err := parseAnnotations(list)
	return out.attrs, out.merge, err
}

// Delivery is delivery, and what of it the tests look at.
type Delivery struct {
	inner    *delivery
	Exports  []solver.Export
	Refs     []manifestlist.Reference
	Names    [][]manifestlist.Reference // of each layout
	Staging  string
	Insecure bool
}

// NewDelivery is newDelivery.
func NewDelivery(r *Request, stdout io.Writer) (*Delivery, error) {
	d, err := newDelivery(context.Background(), r, stdout)
	if err != nil {
		return nil, err
	}
	out := &Delivery{d, d.exports, d.refs, nil, d.staging, d.insecure}
	for _, l := range d.layouts {
		out.Names = append(out.Names, l.names)
	}
	return out, nil
}

// Close is close.
func (d *Delivery) Close() error { return d.inner.close() }

// Commit is commit.
func (d *Delivery) Commit() error { return d.inner.commit() }

// Deliver is deliver of a run that solved to solved.
func (d *Delivery) Deliver(ctx context.Context, request *Request, stdout io.Writer, solved *solver.Result) (*Result, error) {
	state, err := os.MkdirTemp("", "mab-deliver-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(state) }()
	cfg := Config{Stdout: stdout, Attach: solver.AttachConfig{State: solver.State{Root: state, Runtime: state}}}
	of := &commission{request: request, delivery: d.inner}
	r := &run{cfg: cfg, commissions: []*commission{of}, members: []*member{{}}}
	o := &outcome{task: task{member: r.members[0], of: of, platforms: request.Platforms}, solved: solved}
	if err := r.collect(ctx, &o.task, o); err != nil {
		return nil, err
	}
	r.done = []*outcome{o}
	out, err := r.deliver(ctx)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Explain is explain of a run of the request by the plan, for a failure on a node.
func Explain(ctx context.Context, request *Request, plan *Plan, node string, err error) error {
	m := &member{Node: nodes.Node{Entry: nodes.Entry{Name: node}}}
	of := &commission{request: request, delivery: &delivery{}}
	return (&run{commissions: []*commission{of}, plan: plan}).explain(ctx, of, m, err)
}

// NewRefusedError makes the error of a result that did not pass the check.
func NewRefusedError(err error) error { return &RefusedError{err} }

// NewFailuresError makes the error of several platforms that failed.
func NewFailuresError(list ...error) error {
	return &FailuresError{multierror.Append(nil, list...)}
}

// Emulators is UnbuildableError.emulators.
func Emulators(e *UnbuildableError) []emulation.Handler { return e.emulators() }

// Promised is promised.
func Promised(info nodes.Info, missing []emulation.Handler) nodes.Info {
	return promised(info, missing)
}

// Share is share.
type Share struct{ inner *share }

// Share is share.
func (d *Delivery) Share(through bool) (*Share, error) {
	s, err := d.inner.share(through)
	return &Share{s}, err
}

// Exports are those of the share.
func (s *Share) Exports() []solver.Export { return s.inner.exports }

// Discard is discard.
func (s *Share) Discard() error { return s.inner.discard() }

// Join is join.
func (d *Delivery) Join(list []*Share) error {
	inner := make([]*share, len(list))
	for i, s := range list {
		inner[i] = s.inner
	}
	return d.inner.join(inner)
}

// Several is several.
func Several(list []manifestlist.Blobs) manifestlist.Blobs { return several(list) }

// LookBy is Look with another way to ask.
func LookBy(ctx context.Context, ask func(context.Context, nodes.Entry) (nodes.Info, error), entries []nodes.Entry, each func(Found)) []Found {
	return look(ctx, ask, entries, each)
}

// Acquaintances is acquaintances.
type Acquaintances struct{ inner *acquaintances }

// OpenAcquaintances is openAcquaintances.
func OpenAcquaintances(s solver.State) Acquaintances { return Acquaintances{openAcquaintances(s)} }

// Meet is meet.
func (a Acquaintances) Meet(list ...Found) { a.inner.meet(list) }

// Patience is the time-out of patience.
func (a Acquaintances) Patience(cfg nodes.Config, e nodes.Entry) time.Duration {
	return a.inner.patience(cfg, e).Timeout
}

// Recall is recall.
func (a Acquaintances) Recall(e nodes.Entry, info nodes.Info) nodes.Info {
	a.inner.recall(e, &info)
	return info
}

// NewUnreachableError is newUnreachableError.
func NewUnreachableError(list ...Found) error { return newUnreachableError(list) }

// Moved is moved.
func Moved(graphs []*crossbuild.Graph) error { return moved(graphs) }

// MadePart is made, with steps that came from the cache.
type MadePart struct {
	Part          *crossbuild.Part
	Node          nodes.Node
	Took          time.Duration
	Steps, Cached int
	Bytes         int64
}

// PlanRecord is Plan.record.
func PlanRecord(p *Plan, parts []MadePart, when time.Time) []Record {
	inner := make([]made, len(parts))
	for i, m := range parts {
		inner[i] = made{part: m.Part, node: m.Node, took: m.Took, steps: m.Steps, cached: m.Cached, bytes: m.Bytes}
	}
	return p.record(inner, when)
}

// NodesOf is nodesOf.
func NodesOf(list []Assignment, portions []Portion) map[string]int { return nodesOf(list, portions) }

// Differing lists the files that two tars of a step's do not have alike.
func Differing(a, b io.Reader) ([]string, error) {
	first, err := listing(a)
	if err != nil {
		return nil, err
	}
	second, err := listing(b)
	return different(first, second), err
}
