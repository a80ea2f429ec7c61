// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"log/slog"
	"os"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// FillScores fills a survey as a solver on this kernel and CPU does, and returns of what it would find out the score.
func FillScores(path string, on Machine, survey []emulation.Support) []emulation.Support {
	return loadScores(path, on).fill(survey)
}

// AddScore keeps a score as a solver on this kernel and CPU does that found this survey.
func AddScore(path string, on Machine, survey []emulation.Support, of emulation.Support, score float64) error {
	s := loadScores(path, on)
	s.fill(survey)
	return s.add(of, score)
}

// Watch is a watch that has found something, and measures by a function.
type Watch struct{ w *watch }

// NewWatch returns one that keeps scores at path.
func NewWatch(path string, found []emulation.Support, measure func(context.Context, platforms.Platform, string) (float64, error)) Watch {
	w := &watch{
		emulators: &emulators{EmulateConfig: EmulateConfig{Log: slog.New(slog.DiscardHandler)}, scores: loadScores(path, Machine{})},
		found:     found, measure: measure, judge: newAbilities,
	}
	able, err := newAbilities(found)
	if err != nil {
		panic(err)
	}
	w.able.Store(able)
	return Watch{w}
}

// ScoreUntil is scoreUntil.
func (w Watch) ScoreUntil(ctx context.Context, end <-chan os.Signal) bool {
	return w.w.scoreUntil(ctx, end)
}

// Builds has so many builds begin, or end.
func (w Watch) Builds(n int64) { w.w.solves.count.Add(n) }

// Labels are the survey and its time as they are told now.
func (w Watch) Labels() (survey, surveyed string) {
	labels := w.w.able.Load().labels
	return labels[surveyLabel], labels[surveyedLabel]
}
