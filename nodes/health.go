// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"github.com/docker/go-units"

	"github.com/mab-build/mab/emulation"
)

// Problem is what is wrong with a node that can be reached, and what would mend it, each a sentence without capital letter and full stop.
type Problem struct {
	Problem string `json:"problem"`
	Mend    string `json:"mend,omitempty"`
}

// Below these, builds are likely to fail.
const (
	leastFree      = 2e9   // bytes of disk
	leastAvailable = 256e6 // bytes of memory
)

// Problems is what is wrong with the node. A platform that it does not run is no problem: others may.
func (n Node) Problems() []Problem {
	i := n.Info
	var out []Problem
	native := false
	for _, s := range i.Survey {
		native = native || s.How == emulation.Native
		if s.Runs() && s.Problem != "" {
			out = append(out, Problem{fmt.Sprintf("%s runs there, but %s", s.Platform, s.Problem), s.Mend})
		}
	}
	if !native {
		out = append(out, Problem{"it runs no platform natively", "read why: mab nodes logs " + n.Name})
	}
	m := i.Machine
	if m.Disk > 0 && m.Free < leastFree {
		out = append(out, Problem{"its disk has only " + units.HumanSize(float64(m.Free)) + " of " + units.HumanSize(float64(m.Disk)) + " free", "make room on it"})
	}
	if m.Memory > 0 && m.Available < leastAvailable {
		out = append(out, Problem{"it has only " + units.HumanSize(float64(m.Available)) + " of " + units.HumanSize(float64(m.Memory)) + " of memory to give", "end what else runs on it"})
	}
	return out
}
