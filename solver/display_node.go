// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// nodeSteps makes the steps of a node its own among those of others, as docker buildx does: they are named after it, equal steps of two
// nodes have different digests, and times are this machine's.
type nodeSteps struct {
	node string
	// ahead is how far the node's clock is ahead of this machine's, as far as is known: what it told last had happened by then.
	ahead time.Duration
	known bool
	steps map[digest.Digest]*nodeStep
	order []digest.Digest
}

// nodeStep is a step that has begun. Its times are all moved by the same, so that what it took stays what it was.
type nodeStep struct {
	ahead time.Duration
	// last is what was shown of it.
	last client.Vertex
}

// newNodeSteps leaves all as it is if the node has no name.
func newNodeSteps(node string) *nodeSteps {
	return &nodeSteps{node: node, steps: map[digest.Digest]*nodeStep{}}
}

// rename returns what is to be shown of what a node told now.
func (n *nodeSteps) rename(s *client.SolveStatus, now time.Time) *client.SolveStatus {
	if n.node == "" {
		return s
	}
	out := &client.SolveStatus{}
	for _, v := range s.Vertexes {
		out.Vertexes = append(out.Vertexes, n.vertex(v, now))
	}
	for _, status := range s.Statuses {
		copied, ahead := *status, n.aheadOf(status.Vertex)
		copied.Vertex = nodeDigest(n.node, status.Vertex)
		copied.Timestamp = status.Timestamp.Add(-ahead)
		copied.Started, copied.Completed = back(status.Started, ahead), back(status.Completed, ahead)
		out.Statuses = append(out.Statuses, &copied)
	}
	for _, l := range s.Logs {
		copied := *l
		copied.Vertex = nodeDigest(n.node, l.Vertex)
		copied.Timestamp = l.Timestamp.Add(-n.aheadOf(l.Vertex))
		out.Logs = append(out.Logs, &copied)
	}
	for _, w := range s.Warnings {
		copied := *w
		copied.Vertex = nodeDigest(n.node, w.Vertex)
		out.Warnings = append(out.Warnings, &copied)
	}
	return out
}

func (n *nodeSteps) vertex(v *client.Vertex, now time.Time) *client.Vertex {
	out := *v
	out.Digest, out.Name, out.Inputs = nodeDigest(n.node, v.Digest), nodeName(n.node, v.Name), nil
	for _, input := range v.Inputs {
		out.Inputs = append(out.Inputs, nodeDigest(n.node, input))
	}
	if g := v.ProgressGroup; g != nil {
		out.ProgressGroup = &pb.ProgressGroup{Id: n.node + " " + g.Id, Name: nodeName(n.node, g.Name), Weak: g.Weak}
	}
	if v.Started == nil {
		return &out
	}
	if ahead := v.Started.Sub(now); !n.known || ahead > n.ahead {
		n.ahead, n.known = ahead, true
	}
	step := n.steps[v.Digest]
	if step == nil {
		step = &nodeStep{ahead: n.ahead}
		n.steps[v.Digest] = step
		n.order = append(n.order, v.Digest)
	}
	out.Started, out.Completed = back(v.Started, step.ahead), back(v.Completed, step.ahead)
	step.last = out
	return &out
}

func (n *nodeSteps) aheadOf(step digest.Digest) time.Duration {
	if known := n.steps[step]; known != nil {
		return known.ahead
	}
	return n.ahead
}

// unfinished ends the steps of whose end no word came, as those of a node that was lost: others go on being shown. Nil: there are none.
func (n *nodeSteps) unfinished(now time.Time) *client.SolveStatus {
	var out client.SolveStatus
	for _, d := range n.order {
		last := n.steps[d].last
		if last.Completed != nil {
			continue
		}
		// By these words progressui knows what was cancelled.
		last.Completed, last.Error = &now, context.Canceled.Error()
		out.Vertexes = append(out.Vertexes, &last)
	}
	if out.Vertexes == nil {
		return nil
	}
	return &out
}

func back(t *time.Time, by time.Duration) *time.Time {
	if t == nil {
		return nil
	}
	moved := t.Add(-by)
	return &moved
}

// nodeName puts the node into the brackets that a step's name begins with: [arm1 linux/arm64 2/3] RUN true.
func nodeName(node, name string) string {
	if node == "" {
		return name
	}
	if rest, ok := strings.CutPrefix(name, "["); ok {
		return "[" + node + " " + rest
	}
	return "[" + node + "] " + name
}

func nodeDigest(node string, step digest.Digest) digest.Digest {
	if node == "" {
		return step
	}
	return digest.FromString(node + " " + step.String())
}
