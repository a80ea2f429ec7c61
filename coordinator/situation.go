// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// Situation is what a plan is made of. Its zero value has nothing to build.
type Situation struct {
	// Graphs are what is to be planned, one for each platform, in the order of the requests.
	Graphs []*crossbuild.Graph
	// Targets are the names of the requests that Graphs are of. Nil: there is one alone.
	Targets []string
	// Farm are the nodes that answered, in the user's order.
	Farm []nodes.Node
	// Allowed are the strategies that the user allows. Empty: all.
	Allowed crossbuild.Strategies
	// Claimed is how many platforms other builds of this machine have given each node, by its name. These may be among the builds that
	// its Info says are running, which are others than this one.
	Claimed map[string]int
	// History tells what earlier builds took. Its zero value knows of none.
	History History
	// Without are nodes, or ways to use them, that have failed in this build.
	Without []Exclusion
	// Unassisted are the toolchains that steps are not assisted by any more.
	Unassisted []string
	// Under are assignments of this build that are under way and stay; they are load.
	Under []Assignment
	// Build is the BUILDPLATFORM that Graphs are for.
	Build platforms.Platform
	// Division is what of Graphs can be done apart. Nil: nothing is.
	Division *crossbuild.Division
	// Standing are portions of this build that are done or under way and stay where they are, unless their node is in Without. They are
	// those that an earlier plan of this build gave.
	Standing []Portion
	// Travelled is how many bytes the last build carried over of a step's result, by TravelKey. Nil: as History tells.
	Travelled map[string]int64
	// Seed chooses between equal nodes, so that builds which start at once do not all choose the same.
	Seed uint64
}

// Exclusion is a node that a build does without, or a way to use it.
type Exclusion struct {
	Node string
	// Strategy is the one that failed there. Zero value of Any: that strategy alone; true: the node as a whole.
	Strategy crossbuild.Strategy
	Any      bool
	// Platform is the one that it failed for. Its zero value: all.
	Platform platforms.Platform
	// Target is the name of the request whose platform that is. Empty: of any.
	Target string
	// Why is a sentence without capital letter and full stop.
	Why string
}
