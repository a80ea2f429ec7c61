// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/moby/buildkit/exporter"

	"github.com/mab-build/mab/emulation"
)

// Environment is environment.
func Environment(all []string) []string { return environment(all) }

// WaitReady is waitReady.
func WaitReady(ctx context.Context, ready *os.File) error { return waitReady(ctx, ready) }

// OpenLog is openLog.
func OpenLog(path string) (io.WriteCloser, error) { return openLog(path) }

// MaxLogSize is maxLogSize.
const MaxLogSize = maxLogSize

// Acquire is acquire.
func Acquire(ctx context.Context, state State) (*os.File, error) { return acquire(ctx, state) }

// Listen is listen.
func Listen(ctx context.Context, path string) (net.Listener, error) { return listen(ctx, path) }

// Clean is clean.
func Clean(state State) error { return clean(state) }

// Steady is steadyExporter.
func Steady(e exporter.Exporter) exporter.Exporter { return steadyExporter{Exporter: e} }

// TakeNames is takeNames.
func TakeNames(attrs map[string]string) (own map[string]string, repositories []string) {
	return takeNames(attrs)
}

// Idle is idle.
type Idle = idle

// NewIdle is newIdle.
func NewIdle(stop, calm time.Duration, onBusy, onCalm func()) *Idle {
	return newIdle(idleTimes{stop, calm}, onBusy, onCalm)
}

// Over is closed when nobody was connected for long enough.
func (i *idle) Over() <-chan struct{} { return i.over }

// Flag is flag.
type Flag = flag

// NewFlag returns the flag of a state.
func NewFlag(state State, log *slog.Logger) Flag { return flag{state.unsettled(), log} }

// Raise is raise.
func (f flag) Raise() { f.raise() }

// Lower is lower.
func (f flag) Lower() { f.lower() }

// Recover is recover.
func (f flag) Recover(state State) error { return f.recover(state) }

// Unsettled is unsettled.
func (s State) Unsettled() string { return s.unsettled() }

// Abilities returns the platforms and labels of a worker for a survey.
func Abilities(survey []emulation.Support) (platforms []string, label string, err error) {
	a, err := newAbilities(survey)
	if err != nil {
		return nil, "", err
	}
	for _, p := range a.platforms {
		platforms = append(platforms, p.OS+"/"+p.Architecture)
	}
	return platforms, a.labels[surveyLabel], nil
}

// Heal is heal.
func Heal(state State, log *slog.Logger) error { return heal(state, log) }

// Settle notes the databases as they are.
func Settle(state State) error {
	return settle(state)
}

// AdoptAs is adoptAs of a mab of this format and version.
func AdoptAs(s State, format int, version string, log *slog.Logger) error {
	return adoptAs(s, stamp{format, version}, log)
}

// RemoveAside is removeAside.
func RemoveAside(ctx context.Context, root string) error { return removeAside(ctx, root) }

// Solves counts builds.
type Solves = solves

// Count is how many are under way.
func (s *solves) Count() int64 { return s.count.Load() }

// Difference is AttachConfig.difference.
func Difference(c AttachConfig, info Info, s State) (others, busy string) {
	return c.difference(info, s)
}

// Crashed tells whether a process is the first of a step, and whether it waits for its death.
func Crashed(status string) (first, waits bool) {
	s := parseStatus(status)
	return firstOfStep(s), waitsForDeath(s)
}

// OpenDoor is openDoor.
func OpenDoor(ctx context.Context, state State, c Config) (net.Listener, error) {
	return openDoor(ctx, state, c)
}

// Alone reports whether nobody holds the solver.
func Alone(ctx context.Context, state State) bool {
	u, err := share(ctx, state)
	return err == nil && u.alone() && u.Close() == nil
}

// HoldAlone has nobody else hold the solver until the returned function is called.
func HoldAlone(t interface {
	Context() context.Context
	Fatal(...any)
}, state State) func() {
	u, err := share(t.Context(), state)
	if err != nil || !u.alone() {
		t.Fatal("the solver is held", err)
	}
	return func() { _ = u.Close() }
}
