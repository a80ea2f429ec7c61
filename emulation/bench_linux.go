// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/mab-build/mab/platforms"
)

const (
	// benchTimes is how often the set is run, and benchTimeout is for all that one emulator does in it.
	benchTimes   = 3
	benchTimeout = time.Minute
)

// BenchConfig says what Bench measures. The zero value measures every emulator that the system has, by the programs of this package.
type BenchConfig struct {
	// Platforms are those whose emulators are measured. Nil: all of the table.
	Platforms []platforms.Platform
	// Find is where emulators are looked for.
	Find FindConfig
	// Measurer returns the command of a platform that writes what Measure returns as JSON; nil: there is none. Without it floats, system calls
	// and threads are not measured.
	Measurer func(platforms.Platform) []string
}

// Bench measures every emulator that can serve a platform, in the order of the table and then as Find would take them, after what the machine
// does natively, which comes first. Emulators are called by their path and need no handlers. It runs one program at a time, and the whole set
// several times, of which the best counts: what disturbs one emulator now disturbs another the next time. An emulator that fails is in the
// result with its problem.
func Bench(ctx context.Context, cfg BenchConfig) ([]Measured, error) {
	found, err := Candidates(cfg.Find)
	if err != nil {
		return nil, err
	}
	out := []Measured{{Platform: platforms.Host()}}
	for _, e := range found {
		if p, wanted := cfg.wants(e.Handler); wanted {
			out = append(out, Measured{Platform: p, Emulator: e.Path})
		}
	}
	for range benchTimes {
		for i := range out {
			cfg.measure(ctx, &out[i])
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("measuring emulators: %w", err)
			}
		}
	}
	if own := out[0]; own.Problem != "" {
		return nil, fmt.Errorf("measuring this machine: %s", own.Problem)
	}
	for i := range out {
		out[i].Relative = digits3(out[i].relativeTo(out[0].Speeds))
	}
	return out, nil
}

// wants reports whether a handler is to be measured, and by which platform.
func (cfg *BenchConfig) wants(h Handler) (platforms.Platform, bool) {
	if cfg.Platforms == nil {
		return h.Platforms[0], true
	}
	for _, p := range cfg.Platforms {
		if of, ok := HandlerFor(p); ok && of.Name == h.Name {
			return h.Platforms[0], true
		}
	}
	return platforms.Platform{}, false
}

// measure measures one, once more. What failed is left alone.
func (cfg *BenchConfig) measure(ctx context.Context, m *Measured) {
	if m.Problem != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, benchTimeout)
	defer cancel()
	speeds, err := Speeds{}, error(nil)
	if m.Emulator != "" && m.Digest == "" {
		if m.Digest, err = fileDigest(m.Emulator); err == nil {
			m.Version, err = QEMUVersion(ctx, m.Emulator)
		}
	}
	if err == nil {
		speeds, err = cfg.speeds(ctx, *m)
	}
	if err != nil {
		m.Problem, m.Speeds = err.Error(), Speeds{}
		return
	}
	m.Speeds = m.best(speeds)
}

// speeds runs the set.
func (cfg *BenchConfig) speeds(ctx context.Context, m Measured) (out Speeds, err error) {
	start, known := Program(m.Platform)
	work, scored := Work(m.Platform)
	if !known || !scored {
		return out, errors.ErrUnsupported
	}
	started, err := m.least(ctx, start)
	if err != nil {
		return out, err
	}
	worked, err := m.least(ctx, work)
	if err != nil {
		return out, err
	}
	if cfg.Measurer != nil {
		if command := cfg.Measurer(m.Platform); command != nil {
			if out, err = m.ask(ctx, command); err != nil {
				return Speeds{}, err
			}
		}
	}
	out.Integer, out.Exec = digits3(score(started, worked)), digits3(1/max(started, time.Microsecond).Seconds())
	return out, nil
}

// least is the least CPU time that a program takes.
func (m *Measured) least(ctx context.Context, program []byte) (time.Duration, error) {
	if m.Emulator == "" {
		return best(ctx, program, "")
	}
	path, err := temporaryFile(program, "")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(path)) }() // What stays is some bytes in the directory of temporary files.
	return leastOf(func() (time.Duration, error) {
		cmd := exec.CommandContext(ctx, m.Emulator, path)
		err := run(ctx, cmd)
		return spent(cmd), err
	})
}

// ask runs a command that measures by itself.
func (m *Measured) ask(ctx context.Context, command []string) (out Speeds, err error) {
	if m.Emulator != "" {
		command = append([]string{m.Emulator}, command...)
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(running, command[0], command[1:]...)
	answer := &answer{stop: stop}
	cmd.Stdout = answer
	err = runAlone(cmd)
	if running.Err() != nil {
		err = context.Cause(running)
	}
	if err == nil {
		err = json.Unmarshal(answer.text, &out)
	}
	if err != nil {
		return Speeds{}, fmt.Errorf("running %q: %w", command, err)
	}
	return out, nil
}
