// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"strings"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// Local is the name of the node that is this machine.
const Local = "local"

// Node is a machine that solves.
type Node struct {
	// Name is how the user and every message call the node.
	Name string `json:"name"`
	Info Info   `json:"info"`
}

// Info is what a probe found a node able to do. The zero value can nothing.
type Info struct {
	// Survey has one entry for each platform that was probed, in the order of the probe.
	Survey []emulation.Support `json:"survey"`
}

// Native reports whether the node's CPU runs programs of p.
func (i Info) Native(p platforms.Platform) bool {
	_, ok := i.find(p, emulation.Native)
	return ok
}

// Emulator names what else runs programs of p, as in "QEMU 7.2.0"; false if nothing does.
func (i Info) Emulator(p platforms.Platform) (string, bool) {
	s, ok := i.find(p, emulation.Emulated)
	if !ok {
		return "", false
	}
	return strings.TrimSpace("QEMU " + s.Version), true
}

// Missing tells why the node does not run programs of p and what would mend it; empty if it was not probed for p.
func (i Info) Missing(p platforms.Platform) (problem, mend string) {
	for _, s := range i.Survey {
		if s.How == emulation.None && s.Platform.Covers(p) {
			return s.Problem, s.Mend
		}
	}
	return "", ""
}

// Trouble tells what is wrong with the emulator that runs programs of p, though it runs them, and what would mend it; empty if nothing is.
func (i Info) Trouble(p platforms.Platform) (problem, mend string) {
	s, _ := i.find(p, emulation.Emulated)
	return s.Problem, s.Mend
}

func (i Info) find(p platforms.Platform, how emulation.How) (emulation.Support, bool) {
	for _, s := range i.Survey {
		if s.How == how && s.Platform.Covers(p) {
			return s, true
		}
	}
	return emulation.Support{}, false
}
