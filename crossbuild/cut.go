// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"errors"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// Places tells which node does what, by its name.
type Places struct {
	// Home has for each graph the node that makes its result.
	Home []string
	// Shared is the node that does Division.Shared. Empty: each home does it for itself.
	Shared string
	// Private has for each graph the node that does its part of Division.Private. Empty: its home.
	Private []string
}

// Part is one result of a step that other nodes than the one which makes it need.
type Part struct {
	// Key is equal for parts that are the same in what they do and what travels of it. Like Identity it says nothing across requests.
	Key digest.Digest `json:"-"`
	// Node is the one that makes it.
	Node string `json:"node"`
	// Step is the one whose result it is, and Output which of its results.
	Step   *Step `json:"step"`
	Output int64 `json:"output,omitempty"`
	// Paths are what is carried over of it, as the steps that copy from it name them. Empty: all of its layers.
	Paths []string `json:"paths,omitempty"`
	// Steps are all that run a program for it on Node, Step included.
	Steps []*Step `json:"-"`
	// Needs are the parts, by their places in the cut, that are to be there before; all are smaller than its own place.
	Needs []int `json:"-"`
	// Graphs are the ones, by their places in the list given, whose homes need it, in their order.
	Graphs []int `json:"-"`
}

// Import is a part that has been made, as a graph names it. Its zero value is one that need not be fetched, since it was made on the same
// node: there it only is not made again.
type Import struct {
	// Ref is an image's reference with its digest, in the client's OCI store Store.
	Ref, Store string
}

// Imports gives the parts that have been made, by their places in the cut; false is one that is to be made where it is needed.
type Imports func(part int) (Import, bool)

// Cut is how the graphs of one request are done on several nodes. It is not changed once made and may be read concurrently.
type Cut struct {
	// Parts are what travels, those that others need before them.
	Parts []Part
}

// NewCut cuts graphs, which were divided into d. Parts that only their own node needs, and homes that are the place of what they would
// import, do not count as cuts, but where a shared step is done on a home, that home has it among its Uses, so that it waits for it.
func NewCut(graphs []*Graph, d *Division, at Places) (*Cut, error) { return &Cut{}, nil }

// Uses are the parts that the home of a graph needs, whether or not they travel, by their places in Parts.
func (c *Cut) Uses(graph int) []int { return nil }

// Part returns the definition that makes a part: a file system that holds what travels of it.
func (c *Cut) Part(part int, have Imports) (*pb.Definition, error) { return nil, errors.New("not yet") }

// Target returns def, whose steps are those of a graph and what depends on them, with each step that have gives replaced by its import.
// def itself does not change; it may be the one that the graph was read from, or another one of the same request, such as that of an
// attestation.
func (c *Cut) Target(graph int, def *pb.Definition, have Imports) (*pb.Definition, error) {
	return def, nil
}

// Early returns what the home of a graph can do before the parts are there, as definitions of their own. What runs no program is not worth it.
func (c *Cut) Early(graph int) []*pb.Definition { return nil }

// ForSession returns def with its local sources and OCI layouts to be read out of another session than the one in which the frontend made
// it. def itself does not change.
func ForSession(def *pb.Definition, session string) (*pb.Definition, error) { return def, nil }
