// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/sandbox"
)

// EmulateConfig says what Emulate registers. The zero value registers what the system has and discards what mab has to say.
type EmulateConfig struct {
	// Store has the emulators that mab installed.
	Store emulation.Store
	// Scores is a file of a solver's (see State.Scores): what it knows of how fast platforms run. Empty: nothing is known.
	Scores string
	// Measurements is a file of emulation.Measurements: where there are several emulators it decides. Empty: the first is taken.
	Measurements string
	// SkipVersions saves running each emulator with --version.
	SkipVersions bool
	// Log tells of emulators that are not used. Nil discards.
	Log *slog.Logger
}

// Emulate registers every emulator of this machine in a binfmt_misc instance private to the sandbox that it is called in, and
// surveys what runs then. Where the kernel allows no private instance, the survey is of the host's, which it never changes.
func Emulate(ctx context.Context, cfg EmulateConfig) ([]emulation.Support, error) {
	return newEmulators(cfg).survey(ctx, true)
}

// emulators are those of one solver while it runs.
type emulators struct {
	EmulateConfig
	instance emulation.Instance // the zero value is the host's
	scores   *scores
}

func newEmulators(cfg EmulateConfig) *emulators {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &emulators{EmulateConfig: cfg, scores: loadScores(cfg.Scores, fixedMachine(os.DirFS("/")))}
	if !sandbox.OwnUser() {
		return e
	}
	private, err := emulation.MountPrivate(emulation.HostDir)
	if err != nil {
		cfg.Log.Warn("emulating with the host's handlers", "why", err)
		return e
	}
	e.instance = private
	return e
}

// survey registers what is new, and tells what runs then. It may be called again while programs run; with drop, handlers whose
// emulator is gone go too.
func (e *emulators) survey(ctx context.Context, drop bool) ([]emulation.Support, error) {
	find := emulation.FindConfig{Store: e.Store, Measured: ReadMeasurements(e.Measurements)}
	var found []emulation.Emulator
	if e.instance.Private {
		var refused []emulation.Refusal
		var err error
		if found, refused, err = emulation.Find(find); err != nil {
			return nil, err
		}
		for _, r := range refused {
			e.Log.Info("emulator not used", "path", r.Path, "why", r.Reason)
		}
		if _, err := emulation.Refresh(ctx, e.instance, found, drop); err != nil {
			e.Log.Warn("some emulators could not be registered", "why", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	survey, err := emulation.Survey(ctx, emulation.SurveyConfig{Instance: e.instance, Find: find, SkipVersions: e.SkipVersions})
	e.scores.fill(survey)
	tellChoices(survey, found)
	return survey, err
}

// tellChoices writes into a survey why emulators were chosen.
func tellChoices(survey []emulation.Support, chosen []emulation.Emulator) {
	for i := range survey {
		for _, e := range chosen {
			if survey[i].Interpreter == e.Path {
				survey[i].Choice = e.Why
			}
		}
	}
}

// ReadMeasurements reads what was measured on this machine, on the kernel that runs and this CPU.
func ReadMeasurements(path string) emulation.Measurements {
	on := fixedMachine(os.DirFS("/"))
	return emulation.ReadMeasurements(path, on.Kernel, on.Model)
}

// abilities is a survey in the forms in which BuildKit carries it: the worker's platforms, this machine's own first, and a label.
type abilities struct {
	platforms []ocispec.Platform
	labels    map[string]string
}

func newAbilities(survey []emulation.Support) (*abilities, error) {
	text, err := json.Marshal(survey)
	if err != nil {
		return nil, fmt.Errorf("writing down what the solver can run: %w", err)
	}
	host := platforms.Host()
	out := &abilities{platforms: []ocispec.Platform{host.OCI()}, labels: map[string]string{
		surveyLabel: string(text), surveyedLabel: time.Now().UTC().Format(time.RFC3339Nano),
	}}
	for _, s := range survey {
		if s.Runs() && s.Platform != host {
			out.platforms = append(out.platforms, s.Platform.OCI())
		}
	}
	return out, nil
}
