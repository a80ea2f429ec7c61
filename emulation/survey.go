// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/platforms"
)

// How says what executes a platform's programs.
type How string

// The values of How.
const (
	Native   How = "native"
	Emulated How = "emulated"
	None     How = "none"
)

// Support tells whether and how this machine runs the programs of one platform. Its JSON form is that of `mab emulation ls --json`:
// every key is always there.
type Support struct {
	Platform platforms.Platform `json:"platform"`
	How      How                `json:"how"`
	// Instance is whose instance of binfmt_misc the handler is of: "private", "host" or "" without a handler.
	Instance string `json:"instance"`
	// Handler, Interpreter and Flags are the entry's that the kernel picks, or would if it were enabled.
	Handler     string `json:"handler"`
	Interpreter string `json:"interpreter"`
	Flags       string `json:"flags"`
	// Version is QEMU's, "" if not asked for or unknown.
	Version string `json:"version"`
	// Probe is "ok", or why the tiny program did not run; ProbeMS is how long it took, in milliseconds.
	Probe   string  `json:"probe"`
	ProbeMS float64 `json:"probe_ms"`
	// Score is how fast programs of the platform run here, in millions of rounds per second of one thread (see Score); 0 if unknown.
	Score float64 `json:"score"`
	// Choice says why this emulator serves where another would come first; "" if it is the first.
	Choice string `json:"choice"`
	// Problem says what is wrong, Mend what to do about it; both are "" if nothing is. A platform may run and have a problem.
	Problem string `json:"problem"`
	Mend    string `json:"mend"`
}

// Runs reports whether build steps of the platform can run.
func (s Support) Runs() bool { return s.How != None && s.How != "" }

// SurveyConfig says what Survey looks at. The zero value surveys what the host offers to this process.
type SurveyConfig struct {
	// Platforms are those to survey, in this order; nil means all of platforms.Known.
	Platforms []platforms.Platform
	// Instance holds the handlers; the zero value is the host's, at HostDir.
	Instance Instance
	// Find is where emulators are looked for when a platform does not run, to tell why.
	Find FindConfig
	// SkipVersions saves running each emulator with --version.
	SkipVersions bool
	// Timeout is for each program that is run; 0 means 5 s.
	Timeout time.Duration
	// Dir is passed on to Probe.
	Dir string
}

// Survey probes each platform and explains the outcome, in the order of cfg.Platforms. It runs up to GOMAXPROCS programs at a
// time. What a probe finds is no error; errors are a cancelled ctx, an unreadable instance, and errors.ErrUnsupported on
// other systems than Linux.
func Survey(ctx context.Context, cfg SurveyConfig) ([]Support, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("surveying emulation: %w", errors.ErrUnsupported)
	}
	if cfg.Instance.Dir == "" {
		cfg.Instance.Dir = HostDir
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	m := machine{host: platforms.Host(), instance: cfg.Instance}
	if err := m.readInstance(); err != nil {
		return nil, err
	}
	if cfg.Platforms == nil {
		cfg.Platforms = platforms.Known()
	}
	outcomes := make([]outcome, len(cfg.Platforms))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range cfg.Platforms {
		group.Go(func() error {
			probing, cancel := context.WithTimeout(ctx, cfg.Timeout)
			defer cancel()
			start := time.Now()
			outcomes[i].err = Probe(probing, p, cfg.Dir)
			outcomes[i].took = time.Since(start)
			return nil
		})
	}
	_ = group.Wait() // Each probe's answer is in outcomes.
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("surveying emulation: %w", err)
	}
	if err := m.findEmulators(cfg.Find, outcomes); err != nil {
		return nil, err
	}
	out := make([]Support, len(cfg.Platforms))
	for i, p := range cfg.Platforms {
		out[i] = m.judge(p, outcomes[i])
	}
	if !cfg.SkipVersions {
		readVersions(ctx, cfg.Timeout, out)
		for i := range out {
			out[i].judgeVersion(m.host)
		}
	}
	return out, nil
}

// readInstance reads the entries and which of their interpreters are missing. An instance that is not mounted has none.
func (m *machine) readInstance() error {
	enabled, err := m.instance.Enabled()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m.visible, m.enabled = true, enabled
	if m.entries, err = m.instance.List(); err != nil {
		return err
	}
	m.missing = map[string]bool{}
	for _, e := range m.entries {
		if _, err := os.Stat(e.Interpreter); errors.Is(err, fs.ErrNotExist) {
			m.missing[e.Interpreter] = true
		}
	}
	return nil
}

// findEmulators looks for what explains and mends failures; there is nothing to look for when all runs.
func (m *machine) findEmulators(cfg FindConfig, outcomes []outcome) error {
	failed := false
	for _, o := range outcomes {
		failed = failed || o.err != nil
	}
	if !failed {
		return nil
	}
	var err error
	if m.found, m.refused, err = Find(cfg); err != nil {
		return err
	}
	for _, manager := range packageManagers {
		if _, err := exec.LookPath(manager.program); err == nil {
			m.manager = manager
			return nil
		}
	}
	return nil
}

// readVersions fills in the versions, asking each file once. A file that does not answer has none.
func readVersions(ctx context.Context, timeout time.Duration, list []Support) {
	first := map[string]int{}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range list {
		if _, asked := first[s.Interpreter]; asked || s.Interpreter == "" {
			continue
		}
		first[s.Interpreter] = i
		group.Go(func() error {
			asking, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			list[i].Version, _ = QEMUVersion(asking, s.Interpreter) // Without an answer it stays unknown.
			return nil
		})
	}
	_ = group.Wait() // Its functions return no errors.
	for i, s := range list {
		if at, asked := first[s.Interpreter]; asked {
			list[i].Version = list[at].Version
		}
	}
}
