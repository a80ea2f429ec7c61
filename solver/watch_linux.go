// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/util/archutil"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/stats"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// watch keeps what a solver can run up to date: a SIGHUP has it look for emulators anew. When no build runs it finds out how fast platforms run.
type watch struct {
	emulators *emulators
	// found is the last survey, and measure emulation.Score.
	found   []emulation.Support
	measure func(context.Context, platforms.Platform, string) (float64, error)
	// judge makes of a survey what the solver says of itself.
	judge   func([]emulation.Support) (*abilities, error)
	able    atomic.Pointer[abilities]
	solves  solves
	hangups chan os.Signal
}

// newWatch registers and surveys for the first time. From then on hangups are waited for.
func newWatch(ctx context.Context, cfg EmulateConfig, judge func([]emulation.Support) (*abilities, error)) (*watch, error) {
	// BuildKit keeps a list of its own, and would take no other for 20 s.
	archutil.CacheMaxAge = 0
	w := &watch{emulators: newEmulators(cfg), measure: emulation.Score, judge: judge, hangups: make(chan os.Signal, 1)}
	if err := w.survey(ctx, true); err != nil {
		return nil, err
	}
	signal.Notify(w.hangups, unix.SIGHUP)
	return w, nil
}

func (w *watch) close() { signal.Stop(w.hangups) }

func (w *watch) survey(ctx context.Context, drop bool) error {
	survey, err := w.emulators.survey(ctx, drop)
	if err != nil {
		return err
	}
	able, err := w.judge(survey)
	if err != nil {
		return err
	}
	w.found = survey
	w.able.Store(able)
	return nil
}

// follow surveys anew at each hangup until ctx ends. While a build is under way no handler is dropped: the next step of it may be
// one that needs it.
func (w *watch) follow(ctx context.Context) {
	for w.scoreUntil(ctx, w.hangups) {
		builds := w.solves.count.Load()
		if err := w.survey(ctx, builds == 0); err != nil {
			w.emulators.Log.Warn("looking for emulators anew", "why", err)
			continue
		}
		archutil.SupportedPlatforms(true)
		w.emulators.Log.Info("looked for emulators anew", "builds under way", builds)
	}
}

// solves counts the builds under way.
type solves struct{ count atomic.Int64 }

var _ stats.Handler = (*solves)(nil)

type solveKey struct{}

// TagRPC marks builds.
func (s *solves) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if info.FullMethodName != control.Control_Solve_FullMethodName {
		return ctx
	}
	return context.WithValue(ctx, solveKey{}, true)
}

// HandleRPC counts builds.
func (s *solves) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if ctx.Value(solveKey{}) == nil {
		return
	}
	switch event.(type) {
	case *stats.Begin:
		s.count.Add(1)
	case *stats.End:
		s.count.Add(-1)
	}
}

// TagConn changes nothing.
func (s *solves) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn counts nothing.
func (s *solves) HandleConn(context.Context, stats.ConnStats) {}
