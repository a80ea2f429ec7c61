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
	Entry
	Info Info `json:"info"`
}

// Info is what a probe found a node able to do. The zero value can nothing.
type Info struct {
	// Survey has one entry for each platform that was probed, in the order of the probe.
	Survey []emulation.Support `json:"survey"`
	// Own is the node's own platform, which BUILDPLATFORM is there. Its zero value: unknown.
	Own platforms.Platform `json:"platform,omitzero"`
	// Machine is what the node consists of. Its zero value: unknown.
	Machine Machine `json:"machine,omitzero"`
	// Running is how many builds the node's solver had under way.
	Running int `json:"running"`
	// Latency is how long a question and its answer take, in seconds. Zero: not measured.
	Latency float64 `json:"latency_seconds,omitempty"`
	// Up and Down are the bandwidth to and from the node in bytes per second. Zero: not measured.
	Up   float64 `json:"up_bytes_per_second,omitempty"`
	Down float64 `json:"down_bytes_per_second,omitempty"`
}

// Machine is what a node consists of, as its solver's process sees it.
type Machine struct {
	CPUs int `json:"cpus,omitempty"`
	// Memory and Available are in bytes: all there is, and what programs could get now.
	Memory    int64 `json:"memory_bytes,omitempty"`
	Available int64 `json:"available_bytes,omitempty"`
	// Disk and Free are in bytes, of the file system that holds the cache.
	Disk int64 `json:"disk_bytes,omitempty"`
	Free int64 `json:"free_bytes,omitempty"`
	// Kernel is its release, as in 6.1.0-28-arm64, and Model the name of the CPU where the kernel tells it.
	Kernel string `json:"kernel,omitempty"`
	Model  string `json:"model,omitempty"`
	// Load is the mean number of runnable threads in the last minute.
	Load float64 `json:"load,omitempty"`
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
	for k := range i.Survey {
		if s := &i.Survey[k]; s.How == how && s.Platform.Covers(p) {
			return *s, true
		}
	}
	return emulation.Support{}, false
}
