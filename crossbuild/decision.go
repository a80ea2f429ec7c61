// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"strings"

	"github.com/mab-build/mab/platforms"
)

// Ability tells what one node runs, as probed there.
type Ability interface {
	// Native reports whether the node's CPU runs programs of p.
	Native(p platforms.Platform) bool
	// Emulator names what else runs programs of p on the node, as in "QEMU 7.2"; false if nothing does.
	Emulator(p platforms.Platform) (name string, ok bool)
}

// How is what becomes of one step on a node, as JSON prints it.
type How string

// What becomes of a step.
const (
	RunsNatively How = "native"   // its programs run on the node's CPU
	RunsAssisted How = "assisted" // its programs run under an emulator, but for those of a toolchain
	RunsEmulated How = "emulated" // its programs run under an emulator
	RunsNothing  How = "nothing"  // a source, or files that the solver itself changes
)

// Handling is a step and what becomes of it on a node.
type Handling struct {
	Step     *Step  `json:"step"` // in the graph's Steps
	How      How    `json:"how"`
	Emulator string `json:"emulator,omitempty"` // its name, for emulated and assisted steps
	// Aid is what an assisted step is assisted by.
	Aid *Aid `json:"aid,omitempty"`
}

// Decision is how one node builds one graph.
type Decision struct {
	Target   platforms.Platform `json:"target"`
	Strategy Strategy           `json:"strategy"` // the word for the slowest step; but one that is assisted stands for all that are emulated
	Why      string             `json:"why"`      // a sentence without capital letter and full stop
	Steps    []Handling         `json:"steps"`    // all of the graph's, in its order
}

// Count returns how many steps are handled as how says.
func (d *Decision) Count(how How) int {
	n := 0
	for _, h := range d.Steps {
		if h.How == how {
			n++
		}
	}
	return n
}

// UnableError is a node that cannot run what a graph needs.
type UnableError struct {
	Target  platforms.Platform
	Missing []Demand // what the node runs neither natively nor under an emulator, at least one
}

// Error names each platform, the first step that needs it, and how many more do.
func (e *UnableError) Error() string {
	parts := make([]string, len(e.Missing))
	for i, d := range e.Missing {
		first, place, more := d.Execs[0], "", ""
		if len(first.Locations) > 0 {
			place = fmt.Sprintf(" (%s)", first.Locations[0])
		}
		if n := len(d.Execs) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		parts[i] = fmt.Sprintf("nothing runs %s, needed by step %q%s%s", d.Platform, first.Name, place, more)
	}
	return strings.Join(parts, "; ")
}

// Hint tells the two mends: an emulator for each architecture, or another node.
func (e *UnableError) Hint() string {
	var names, archs []string
	for _, d := range e.Missing {
		names = append(names, d.Platform.String())
		archs = append(archs, d.Platform.Architecture)
	}
	return fmt.Sprintf("add a node that runs %s, or on this one run: mab emulation install %s",
		join(names, "and"), strings.Join(archs, " "))
}

// Decide returns how a node builds g. Emulated is the word as soon as one step is emulated, even if the target itself is
// native to the node; Assisted, as soon as one of those that would be is assisted: these are what takes long. anywhere tells whether any node of the build runs a platform natively, for the sentence; with nil
// it speaks of this node alone. The error is an *UnableError.
func Decide(g *Graph, node Ability, anywhere func(platforms.Platform) bool) (*Decision, error) {
	all := g.Demands()
	strange := foreign(all, node.Native)
	emulators := map[platforms.Platform]string{}
	var missing []Demand
	for _, d := range strange {
		name, ok := node.Emulator(d.Platform)
		if !ok {
			missing = append(missing, d)
		}
		emulators[d.Platform] = name
	}
	if len(missing) > 0 {
		return nil, &UnableError{Target: g.Target, Missing: missing}
	}

	d := &Decision{Target: g.Target, Steps: handle(g, node, emulators)}
	native := node.Native(g.Target)
	switch {
	case d.Count(RunsAssisted) > 0:
		d.Strategy, d.Why = Assisted, whyAssisted(d, execs(all), emulators)+": "+whyForeign(strange, anywhere)
	case len(strange) > 0:
		d.Strategy, d.Why = Emulated, whyEmulated(all, strange, emulators)+": "+whyForeign(strange, anywhere)
	case native:
		d.Strategy, d.Why = Native, whyNative(all)
	default:
		d.Strategy, d.Why = Cross, whyCross(g.Target, all)
	}
	if native && len(strange) > 0 {
		d.Why += fmt.Sprintf("; %s itself is native", g.Target)
	}
	return d, nil
}

// handle takes what is in emulators as foreign, all other platforms as native.
func handle(g *Graph, node Ability, emulators map[platforms.Platform]string) []Handling {
	list := make([]Handling, len(g.Steps))
	for i := range g.Steps {
		s := &g.Steps[i]
		list[i] = Handling{Step: s, How: RunsNothing}
		if !s.Runs() {
			continue
		}
		list[i].How = RunsNatively
		if name, ok := emulators[s.Platform]; ok {
			list[i].How, list[i].Emulator = RunsEmulated, name
			if list[i].Aid = s.AidOn(node); list[i].Aid != nil {
				list[i].How = RunsAssisted
			}
		}
	}
	return list
}
