// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"

	"github.com/mab-build/mab/emulation"
)

// scores are how fast the programs of each platform run, kept in a file from one solver to the next.
type scores struct {
	path string
	kept keptScores
}

// keptScores is the form of the file. Scores of another kernel or CPU are none of this machine.
type keptScores struct {
	Kernel string `json:"kernel"`
	Model  string `json:"model"`
	// Scores are by what runs the programs: see runner.
	Scores map[string]keptScore `json:"scores"`
}

// keptScore is the best of some times: a machine that is busy with something else seems slower than it is, never faster.
type keptScore struct {
	Score float64 `json:"score"`
	Times int     `json:"times"`
}

// scoreTimes is how often a score is found out, by as many solvers or surveys.
const scoreTimes = 3

// loadScores reads the file. One that is not there, or is damaged, has none.
func loadScores(path string, on Machine) *scores {
	s := &scores{path: path, kept: keptScores{Kernel: on.Kernel, Model: on.Model, Scores: map[string]keptScore{}}}
	content, err := os.ReadFile(path)
	if err != nil {
		return s
	}
	var kept keptScores
	if json.Unmarshal(content, &kept) == nil && kept.Kernel == on.Kernel && kept.Model == on.Model && kept.Scores != nil {
		s.kept = kept
	}
	return s
}

// runner names what runs the programs of a survey's platform: the CPU or the very file of an emulator. Variants are run by the same.
func runner(s emulation.Support) string {
	name := s.Platform.OS + "/" + s.Platform.Architecture + " " + string(s.How)
	if s.Interpreter == "" {
		return name
	}
	name += " " + s.Interpreter
	if file, err := os.Stat(s.Interpreter); err == nil {
		name += fmt.Sprintf(" %d %d", file.Size(), file.ModTime().UnixNano())
	}
	return name
}

// fill writes what is known into a survey, and returns what is to be found out: the first entry for each runner. Runners that are gone are
// forgotten.
func (s *scores) fill(survey []emulation.Support) (open []emulation.Support) {
	seen := map[string]bool{}
	for i := range survey {
		if !survey[i].Runs() {
			continue
		}
		name := runner(survey[i])
		kept := s.kept.Scores[name]
		survey[i].Score = kept.Score
		if kept.Times < scoreTimes && !seen[name] {
			open = append(open, survey[i])
		}
		seen[name] = true
	}
	maps.DeleteFunc(s.kept.Scores, func(name string, _ keptScore) bool { return !seen[name] })
	return open
}

// add keeps the score of what runs an entry of the survey, to three digits: the rest is noise.
func (s *scores) add(of emulation.Support, score float64) error {
	if score > 0 {
		digits := math.Pow(10, 2-math.Floor(math.Log10(score)))
		score = math.Round(score*digits) / digits
	}
	kept := s.kept.Scores[runner(of)]
	s.kept.Scores[runner(of)] = keptScore{max(kept.Score, score), kept.Times + 1}
	return s.save()
}

// save writes the file. It is whole or as before.
func (s *scores) save() error {
	content, err := json.Marshal(s.kept)
	if err == nil {
		err = os.WriteFile(s.path+".new", append(content, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(s.path+".new", s.path)
	}
	if err != nil {
		return fmt.Errorf("keeping the scores of platforms: %w", err)
	}
	return nil
}
