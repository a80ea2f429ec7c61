// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// origin is what a graph was read from, by the places of its steps.
type origin struct {
	def    *pb.Definition
	ops    []*pb.Op
	raw    [][]byte
	inputs [][]edge
	result edge
}

// edge is a result of a step.
type edge struct {
	from   int // the step's place
	output int64
}

func (o *origin) add(op *pb.Op, raw []byte, index map[digest.Digest]int) {
	var inputs []edge
	for _, in := range op.GetInputs() {
		inputs = append(inputs, edge{from: index[digest.Digest(in.GetDigest())], output: in.GetIndex()})
	}
	o.ops, o.raw, o.inputs = append(o.ops, op), append(o.raw, raw), append(o.inputs, inputs)
}

// vertex is a step with what it is linked to.
type vertex struct {
	*Step
	op     *pb.Op // nil in a graph that was put together of steps
	inputs []edge
	// programs is whether it or anything that it needs runs a program, apart whether all of that may be done on any node.
	programs, apart bool
}

// vertices are those of g, in its order.
func (g *Graph) vertices() []vertex {
	if g == nil {
		return nil
	}
	list := make([]vertex, len(g.Steps))
	for i := range g.Steps {
		list[i].Step = &g.Steps[i]
	}
	if g.origin != nil {
		for i := range list {
			list[i].op, list[i].inputs = g.origin.ops[i], g.origin.inputs[i]
		}
	} else {
		link(list)
	}
	for i := range list {
		v := &list[i]
		v.programs, v.apart = v.Runs(), movable(v)
		for _, in := range v.inputs {
			v.programs = v.programs || list[in.from].programs
			v.apart = v.apart && list[in.from].apart
		}
	}
	return list
}

// link finds inputs by digest. All it knows of them is that they are needed.
func link(list []vertex) {
	place := make(map[digest.Digest]int, len(list))
	for i := range list {
		for _, d := range list[i].Inputs {
			if from, ok := place[d]; ok {
				list[i].inputs = append(list[i].inputs, edge{from: from})
			}
		}
		place[list[i].Digest] = i
	}
}

func (g *Graph) result() edge {
	if g.origin != nil {
		return g.origin.result
	}
	return edge{from: len(g.Steps) - 1}
}
