// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// Portion is what one node does for platforms that others build, or that it builds itself beside others.
type Portion struct {
	Node     string              `json:"node"`
	Strategy crossbuild.Strategy `json:"strategy"`
	// Why is a sentence without capital letter and full stop.
	Why string `json:"why"`
	// Platforms are those that it is for, in the order of the request. Two or more: it is what they share.
	Platforms []platforms.Platform `json:"for"`
	// Steps are those that run programs, and how.
	Steps []crossbuild.Handling `json:"steps"`
	// Problems and Expected are as in Assignment.
	Problems []string `json:"problems,omitempty"`
	Expected float64  `json:"expected_seconds,omitempty"`
	// Travels are what goes to other nodes of it. Empty: all that need it are built on Node.
	Travels []Travel `json:"travels,omitempty"`
}

// Travel is what goes from one node to others.
type Travel struct {
	// Step is the name of the step whose result it is.
	Step string `json:"step"`
	// Paths are as in crossbuild.Part: what is carried over; empty is all layers.
	Paths []string `json:"paths,omitempty"`
	// To are the nodes that it goes to, each once.
	To []string `json:"to"`
	// Bytes is how much went to one of them the last time. Zero: that is not known.
	Bytes int64 `json:"bytes,omitempty"`
}
