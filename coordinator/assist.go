// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// versionLength is how many bytes of a file that tells a version are compared.
const versionLength = 4096

// recognise finds what steps may be assisted by, and notes it with the steps. It fails in nothing: what is not recognised is not assisted.
func (r *run) recognise(ctx context.Context, files *solver.Files) {
	if !r.common().Strategies.Allows(crossbuild.Assisted) {
		return
	}
	candidates := crossbuild.Candidates(r.graphs, r.common().Assist, r.emulatedEverywhere)
	if len(candidates) == 0 {
		return
	}
	var aids []crossbuild.Aid
	recorded := r.recognitions()
	for _, c := range candidates {
		for _, native := range r.natives(c.Platform()) {
			aid, why, err := r.aid(ctx, files, recorded, &c, native)
			if err != nil {
				why = err.Error()
			}
			if why == "" {
				aids = append(aids, aid)
				continue
			}
			r.remark(fmt.Sprintf("%s is not assisted: %s", &c, why))
		}
	}
	recorded.save()
	for i, g := range r.graphs {
		r.graphs[i] = g.WithAids(aids)
	}
}

// aid is what an image does for its steps on a node that is native to a platform; why nothing, if it does not.
func (r *run) aid(ctx context.Context, files *solver.Files, recorded *recognitions, c *crossbuild.Candidate, native platforms.Platform) (aid crossbuild.Aid, why string, err error) {
	if c.Packed() {
		return r.packed(ctx, files, recorded, c, native)
	}
	why, err = r.holds(ctx, files, recorded, c, native)
	return c.Aid(native), why, err
}

// remark tells something of the plan.
func (r *run) remark(line string) {
	if r.dry {
		r.cfg.Note(line)
	} else {
		r.say(line)
	}
}

// emulatedEverywhere reports whether no node runs a platform natively: else the platform goes there, and the sibling is not worth its pull.
func (r *run) emulatedEverywhere(p platforms.Platform) bool {
	return len(r.natives(p)) > 0 && !slices.ContainsFunc(r.members, func(m *member) bool { return m.Info.Native(p) })
}

// natives are the own platforms of the nodes that emulate p, or will once they have the emulator, each once.
func (r *run) natives(p platforms.Platform) []platforms.Platform {
	var out []platforms.Platform
	for _, m := range r.members {
		own := m.Info.Own
		_, emulates := m.Info.Emulator(p)
		runs := own != (platforms.Platform{}) && own.OS == p.OS && m.Info.Native(own)
		if (emulates || r.common().EmulationImage != "") && runs && !slices.Contains(out, own) {
			out = append(out, own)
		}
	}
	return out
}

// holds finds out whether an image holds the same toolchain for the steps' platform and for another one; why not, if it does not.
func (r *run) holds(ctx context.Context, files *solver.Files, recorded *recognitions, c *crossbuild.Candidate, native platforms.Platform) (why string, err error) {
	both := []platforms.Platform{c.Platform(), native}
	texts := make([]string, len(both))
	var group errgroup.Group
	for i, p := range both {
		known, ok := recorded.get(c, p)
		switch {
		case ok:
			texts[i] = known
		case r.dry:
			r.remark(fmt.Sprintf("%s is taken to be the same for %s: that is looked at when it is built", c, native))
			return "", nil
		default:
			group.Go(func() error {
				text, err := versionIn(ctx, files, c, p)
				if err == nil {
					recorded.set(c, p, text)
				}
				texts[i] = text
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	for i, p := range both {
		if texts[i] == "" {
			return fmt.Sprintf("it does not have it for %s", p), nil
		}
	}
	if texts[0] != texts[1] {
		return fmt.Sprintf("it has version %s for %s and %s for %s", firstLine(texts[0]), both[0], firstLine(texts[1]), both[1]), nil
	}
	return "", nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return fmt.Sprintf("%q", line)
}

// versionIn is the version of the toolchain that an image holds for a platform; empty if it holds none.
func versionIn(ctx context.Context, files *solver.Files, c *crossbuild.Candidate, p platforms.Platform) (string, error) {
	def, err := c.Definition(p)
	if err != nil {
		return "", err
	}
	version, tool := c.Files(p)
	got, err := files.Read(ctx, def, versionLength, version, tool)
	if errors.Is(err, solver.ErrNoFile) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(got[0])), nil
}

// assists reports whether a step of the plan is assisted.
func (r *run) assists() bool {
	aided := func(list []crossbuild.Handling) bool {
		return slices.ContainsFunc(list, func(h crossbuild.Handling) bool { return h.Aid != nil })
	}
	return slices.ContainsFunc(r.plan.Assignments, func(a Assignment) bool { return aided(a.Steps) }) ||
		slices.ContainsFunc(r.plan.Portions, func(p Portion) bool { return aided(p.Steps) })
}

// places are those of a plan, with what the nodes assist.
func (r *run) places(plan *Plan) crossbuild.Places {
	out := plan.Places(r.graphs)
	off := slices.Clone(r.unassisted)
	out.Assist = func(node string, s *crossbuild.Step) *crossbuild.Aid {
		m := r.member(node)
		if m == nil {
			return nil
		}
		return s.AidOn(m.Info, off...)
	}
	return out
}

// unassist has no step be assisted by what is not to be used any more. What is given stays as it is.
func (s *Situation) unassist() {
	if len(s.Unassisted) == 0 {
		return
	}
	all := func(list []*crossbuild.Graph) []*crossbuild.Graph {
		out := make([]*crossbuild.Graph, len(list))
		for i, g := range list {
			out[i] = g.WithoutAids(s.Unassisted)
		}
		return out
	}
	s.Graphs = all(s.Graphs)
	if s.Division != nil {
		s.Division = &crossbuild.Division{Shared: s.Division.Shared.WithoutAids(s.Unassisted), Private: all(s.Division.Private)}
	}
}

// assistedIn is the step that failed while it was assisted; nil if none did.
func assistedIn(err error) *StepError {
	var step *StepError
	if !errors.As(err, &step) || step.Aid == nil {
		return nil
	}
	return step
}

// plainly has a task be done anew without the toolchain that assisted the step which failed.
func (r *run) plainly(ctx context.Context, t task, err error) error {
	step := assistedIn(err)
	names := step.Aid.Toolchains()
	r.mu.Lock()
	for _, name := range names {
		if !slices.Contains(r.unassisted, name) {
			r.unassisted = append(slices.Clip(r.unassisted), name)
		}
	}
	r.mu.Unlock()
	list, stuck := r.replan(t.goals())
	if stuck != nil {
		return r.fail(t, err)
	}
	r.say(fmt.Sprintf("%s on %s is built again without assisting %s, because step %q failed so",
		words(t.goals()), t.member.Name, strings.Join(names, " and "), step.Step.Name))
	r.performAll(ctx, r.parts(list)...)
	return nil
}

// cost is how long a step takes on a site.
func (r *runs) cost(s *site) float64 {
	on := s.speeds[r.platform]
	if on.how == emulation.Emulated && slices.ContainsFunc(r.aids, func(a crossbuild.Aid) bool { return s.node.Info.Native(a.Native) }) {
		return on.cost * costs[crossbuild.Assisted] / costs[crossbuild.Emulated]
	}
	return on.cost
}

func sameAids(a, b []crossbuild.Aid) bool {
	return slices.EqualFunc(a, b, func(x, y crossbuild.Aid) bool { return x.Native == y.Native && x.Toolchain == y.Toolchain })
}
