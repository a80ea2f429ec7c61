// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// AssistedStep is a step that was assisted, and what that took.
type AssistedStep struct {
	Step string `json:"step"`
	Node string `json:"node"`
	crossbuild.Aid
	// Seconds is how long it took. Zero: it was in the cache.
	Seconds float64 `json:"seconds,omitempty"`
	// Emulated is how many seconds the same step of the same build took the last time that it ran on the node without. Zero: it is not known.
	Emulated float64 `json:"emulated_seconds,omitempty"`

	goals []Goal
}

// String is a line that tells of one that was run.
func (s *AssistedStep) String() string {
	text := fmt.Sprintf("%s on %s: step %q took %.1fs assisted by %s", words(s.goals), s.Node, s.Step, s.Seconds, s.Toolchain)
	if s.Emulated > 0 {
		text += fmt.Sprintf("; wholly emulated it took %.1fs the last time, %.1f times as long", s.Emulated, s.Emulated/s.Seconds)
	}
	return text
}

// mostStepTimes is how many are kept; then it begins anew.
const mostStepTimes = 2000

// stepTimes are the seconds that steps took wholly emulated, by a name of each. What goes wrong with their file has them be unknown.
type stepTimes struct {
	path  string
	known map[string]float64
	more  bool // than the file has
}

// stepTimes reads those of this machine.
func (r *run) stepTimes() *stepTimes {
	out := &stepTimes{known: map[string]float64{}}
	state, err := r.cfg.Attach.State.Resolve()
	if err != nil {
		return out
	}
	out.path = state.StepTimes()
	if text, err := os.ReadFile(out.path); err == nil && (json.Unmarshal(text, &out.known) != nil || out.known == nil) || len(out.known) > mostStepTimes {
		out.known = map[string]float64{}
	}
	return out
}

// save writes those that are new. Builds that end at once may each lose what the others measured.
func (t *stepTimes) save() {
	if !t.more || t.path == "" {
		return
	}
	if text, err := json.MarshalIndent(t.known, "", "  "); err == nil {
		_ = replaceFile(t.path, append(text, '\n'))
	}
}

// stepName is what the time of a step is kept by: the same line of the same build, for the same platform on the same node.
func (r *run) stepName(g Goal, node string, s *crossbuild.Step) string {
	url := ""
	if m := r.member(node); m != nil {
		url = m.URL
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{BuildKey(*r.commission(g.Target).request), url, s.Platform.String(), s.Name}, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// timed is how long each step took that was run, by node. Nothing is made any more.
func (r *run) timed() map[string]map[digest.Digest]time.Duration {
	out := map[string]map[digest.Digest]time.Duration{}
	note := func(node string, times map[digest.Digest]time.Duration) {
		if out[node] == nil {
			out[node] = map[digest.Digest]time.Duration{}
		}
		for step, took := range times {
			out[node][step] = max(out[node][step], took)
		}
	}
	for _, o := range r.done {
		if o.solved != nil {
			note(o.task.member.Name, o.solved.Times)
		}
	}
	for _, m := range r.makings {
		if m.made != nil {
			note(m.member.Name, m.made.Times())
		}
	}
	return out
}

// timeSteps takes account of steps that ran under an emulator: those that were assisted are told, and what the others took is kept to compare with.
func (r *run) timeSteps() {
	if r.dry || r.plan == nil {
		return
	}
	took := r.timed()
	var known *stepTimes
	r.underEmulators(func(node string, goals []Goal, h *crossbuild.Handling) {
		seconds := took[node][h.Step.Digest].Seconds()
		name, s := "", AssistedStep{Step: h.Step.Name, Node: node, Seconds: seconds, goals: goals}
		if seconds > 0 {
			name = r.stepName(goals[0], node, h.Step)
			if known == nil {
				known = r.stepTimes()
			}
			s.Emulated = known.known[name]
		}
		switch {
		case h.Aid != nil:
			s.Aid = *h.Aid
			r.assisted = append(r.assisted, s)
		case seconds > 0:
			known.known[name], known.more = seconds, true
		}
	})
	if known != nil {
		known.save()
	}
	for i := range r.assisted {
		if r.assisted[i].Seconds > 0 {
			r.say(r.assisted[i].String())
		}
	}
}

// underEmulators visits the steps of the plan that run under an emulator, wholly or assisted.
func (r *run) underEmulators(visit func(node string, goals []Goal, h *crossbuild.Handling)) {
	look := func(node string, goals []Goal, steps []crossbuild.Handling) {
		for i := range steps {
			if steps[i].How == crossbuild.RunsEmulated || steps[i].How == crossbuild.RunsAssisted {
				visit(node, goals, &steps[i])
			}
		}
	}
	for i := range r.plan.Portions {
		look(r.plan.Portions[i].Node, r.plan.Portions[i].goals(), r.plan.Portions[i].Steps)
	}
	for i := range r.plan.Assignments {
		a := &r.plan.Assignments[i]
		look(a.Node, []Goal{a.goal()}, a.Steps)
	}
}

// assistedFor are those of the steps that a goal was made by.
func assistedFor(list []AssistedStep, target string, p platforms.Platform) []AssistedStep {
	var out []AssistedStep
	for _, s := range list {
		if slices.Contains(s.goals, Goal{target, p}) {
			out = append(out, s)
		}
	}
	return out
}
