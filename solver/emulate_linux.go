// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/sandbox"
)

// Emulate registers every emulator of this machine in a binfmt_misc instance private to the sandbox that it is called in, and
// surveys what runs then. Where the kernel allows no private instance, the survey is of the host's, which it never changes.
func Emulate(ctx context.Context, versions bool, log *slog.Logger) ([]emulation.Support, error) {
	cfg := emulation.SurveyConfig{SkipVersions: !versions}
	if sandbox.OwnUser() {
		private, err := emulation.MountPrivate(emulation.HostDir)
		if err != nil {
			log.Warn("emulating with the host's handlers", "why", err)
		} else if err := register(ctx, private, log); err != nil {
			return nil, err
		} else {
			cfg.Instance = private
		}
	}
	return emulation.Survey(ctx, cfg)
}

func register(ctx context.Context, private emulation.Instance, log *slog.Logger) error {
	found, refused, err := emulation.Find(emulation.FindConfig{})
	if err != nil {
		return err
	}
	for _, r := range refused {
		log.Info("emulator not used", "path", r.Path, "why", r.Reason)
	}
	if _, err := emulation.RegisterAll(ctx, private, found); err != nil {
		log.Warn("some emulators could not be registered", "why", err)
	}
	return ctx.Err()
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
	out := &abilities{platforms: []ocispec.Platform{host.OCI()}, labels: map[string]string{surveyLabel: string(text)}}
	for _, s := range survey {
		if s.Runs() && s.Platform != host {
			out.platforms = append(out.platforms, s.Platform.OCI())
		}
	}
	return out, nil
}
