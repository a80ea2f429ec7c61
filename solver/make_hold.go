// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/grpchijack"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// hold is a build on a solver that does not end by itself, so that the solver keeps what it made.
type hold struct {
	client  *Client
	session *session.Session
	// shared is what other builds in the session take from the first.
	shared client.SolveOpt
	solve  *Solve
	// attested is whether the build has provenance.
	attested bool

	// def and ref are the part, once solved is closed.
	def    *pb.Definition
	ref    gateway.Reference
	solved chan struct{}
	// lost is closed when the solver has left the session.
	lost chan struct{}

	// during ends with the hold: what is read of the part ends then.
	during context.Context //nolint:containedctx // it is the life of the part, which outlasts the calls that begin and use it
	cancel context.CancelFunc
	// over is closed when it ended, err being the reason.
	over chan struct{}
	err  error
	// written are the caches that the part writes, which caches does, and readers read what it holds.
	written []client.CacheOptionsEntry
	caches  errgroup.Group
	mu      sync.Mutex
	closed  bool
	readers errgroup.Group
	closing func() error
}

// newHold begins to make a part.
func (c *Client) newHold(ctx context.Context, s *Solve, m Make) (*hold, error) {
	if s.Input == nil && s.Request.receives() {
		return nil, errors.New("building: the request's input was not received")
	}
	src, err := s.sources()
	if err != nil {
		return nil, err
	}
	opt, err := s.options(src)
	if err != nil {
		return nil, err
	}
	written, err := partCaches(opt.CacheExports, m.Name)
	if err != nil {
		return nil, err
	}
	_, attested := opt.FrontendAttrs["attest:provenance"]
	// What is said of the frontend and of the result is none of the part's business.
	opt.FrontendAttrs, opt.Exports = map[string]string{}, nil
	opt.CacheExports = written
	if opt.SharedSession, err = newSession(ctx, opt); err != nil {
		return nil, err
	}
	// It never ends well, and could write none.
	opt.CacheExports, opt.SessionPreInitialized = nil, true
	// The history has the build that exports, which sees the same steps and ends well.
	opt.Internal = true
	h := &hold{
		client: c, written: written, session: opt.SharedSession, shared: opt, solve: s, attested: attested,
		solved: make(chan struct{}), lost: make(chan struct{}), over: make(chan struct{}),
	}
	h.during, h.cancel = context.WithCancel(ctx)
	h.closing = sync.OnceValue(h.end)
	h.readers.Go(func() error {
		defer close(h.lost)
		_ = h.session.Run(h.during, grpchijack.Dialer(c.bk.ControlClient()))
		return nil
	})
	h.readers.Go(func() error {
		defer close(h.over)
		defer h.cancel()
		h.err = h.run(ctx, m)
		return nil
	})
	return h, nil
}

// run is the build that holds.
func (h *hold) run(ctx context.Context, m Make) error {
	var stopped error
	build := func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		err := h.keep(ctx, gw, m)
		var stop *stopError
		if errors.As(err, &stop) {
			stopped = stop.error
		}
		return nil, err
	}
	opt := h.shared
	_, err := h.client.solve(h.during, opt, build, h.solve)
	switch {
	case err != nil && h.solve.evidence.overdue() != nil:
	case stopped != nil:
		return stopped
	case h.isClosed():
		return nil
	case err == nil:
		return errors.New("holding a part of the build: the solver let go of it")
	}
	return h.client.explain(ctx, err, h.solve)
}

func (h *hold) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// ended is why it ended, nil as long as it has not.
func (h *hold) ended() error {
	select {
	case <-h.over:
		return h.err
	default:
		return nil
	}
}

// read has do run until it returns or the hold ends; its context is the hold's. False: it has ended.
func (h *hold) reader(do func(ctx context.Context)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.during.Err() != nil {
		return false
	}
	h.readers.Go(func() error { do(h.during); return nil })
	return true
}

func (h *hold) close() error { return h.closing() }

// end waits for the caches that are written, and for all that reads to end.
func (h *hold) end() error {
	err := h.caches.Wait()
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	return errors.Join(err, h.readers.Wait())
}

// again solves the part once more in the same session, where each step is the one that is held: nothing is run, not even without a cache.
func (h *hold) again(opt client.SolveOpt) (*client.SolveResponse, tally, error) {
	opt.SharedSession, opt.SessionPreInitialized = h.session, true
	opt.Internal = len(opt.Exports) == 0
	opt.LocalMounts, opt.AllowedEntitlements, opt.Ref = h.shared.LocalMounts, h.shared.AllowedEntitlements, newRef()
	var def llb.Definition
	def.FromPB(h.def)
	var resp *client.SolveResponse
	var count tally
	see := h.onlyNew(&count)
	status := make(chan *client.SolveStatus)
	group, ctx := errgroup.WithContext(h.during)
	group.Go(func() error { return h.solve.Display.follow(status, see) })
	group.Go(func() error {
		var err error
		resp, err = h.client.bk.Solve(ctx, &def, opt, status)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, count, h.reason(h.client.explain(h.during, err, h.solve))
	}
	return resp, count, nil
}

// onlyNew counts the steps of the part, and has only others be shown, since those were.
func (h *hold) onlyNew(count *tally) func(*client.SolveStatus) {
	own := map[digest.Digest]bool{}
	for _, raw := range h.def.Def {
		// BuildKit calls a step that is not to be looked up in the cache by the second name, where the same is also done with the cache.
		step := digest.FromBytes(raw)
		own[step], own[digest.FromString(string(step)+"-ignorecache")] = true, true
	}
	return func(status *client.SolveStatus) {
		var steps, rest []*client.Vertex
		for _, v := range status.Vertexes {
			if own[v.Digest] {
				steps = append(steps, v)
			} else {
				rest = append(rest, v)
			}
		}
		count.see(&client.SolveStatus{Vertexes: steps})
		status.Vertexes = rest
	}
}

// reason is why something failed while the part was held: that the hold was lost explains all else.
func (h *hold) reason(err error) error {
	if h.during.Err() == nil {
		return err
	}
	<-h.over
	return cmp.Or(h.err, err)
}

// export has the layers of the part be written, and counts its steps.
func (h *hold) export(m Make) (*client.SolveResponse, tally, error) {
	attrs := map[string]string{"oci-mediatypes": "true"}
	if m.Copied {
		attrs["compression"], attrs["compression-level"] = "zstd", "1"
	}
	opt := client.SolveOpt{FrontendAttrs: map[string]string{}, Exports: []client.ExportEntry{{Type: client.ExporterImage, Attrs: attrs}}}
	if m.Materials && h.attested {
		opt.FrontendAttrs["attest:provenance"] = "mode=min"
	}
	return h.again(opt)
}

// writeCaches has the part's caches be written, while others use it.
func (h *hold) writeCaches(list []client.CacheOptionsEntry) {
	if len(list) == 0 {
		return
	}
	h.caches.Go(func() error {
		_, _, err := h.again(client.SolveOpt{CacheExports: list})
		return err
	})
}
