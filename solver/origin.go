// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
)

// origins are the digests that steps of rewritten definitions have in the graphs that they were made from: the plan of a build knows steps by those.
type origins map[digest.Digest]digest.Digest

// of is what a step was made from; a step that was made from no other is itself.
func (o origins) of(step digest.Digest) digest.Digest {
	if from, ok := o[step]; ok {
		return from
	}
	return step
}

// vertex is a step as it is compared.
type vertex struct {
	digest digest.Digest
	// shape is all of it but its inputs and the session that it reads from.
	shape  string
	inputs []*pb.Input
}

// add finds the steps of def in graph: those that do the same with the same, where what was put in place of a step counts as that step.
// Of several equal ones each is found once, in their order.
func (o origins) add(def, graph *pb.Definition) {
	known := map[string][]vertex{}
	for _, v := range vertices(graph) {
		known[v.shape] = append(known[v.shape], v)
	}
	// from has for each step all those that it may be. None: it was put there.
	from := map[string][]digest.Digest{}
	taken := map[digest.Digest]bool{}
	for _, v := range vertices(def) {
		var found []digest.Digest
		for _, k := range known[v.shape] {
			if alike(v, k, from) {
				found = append(found, k.digest)
			}
		}
		from[string(v.digest)] = found
		if len(found) == 0 {
			continue
		}
		i := max(0, slices.IndexFunc(found, func(d digest.Digest) bool { return !taken[d] }))
		taken[found[i]] = true
		o[v.digest] = found[i]
	}
}

// alike reports whether v may be k by their inputs.
func alike(v, k vertex, from map[string][]digest.Digest) bool {
	if len(v.inputs) != len(k.inputs) {
		return false
	}
	for i, in := range v.inputs {
		may := from[in.Digest]
		if len(may) == 0 {
			continue
		}
		if in.Index != k.inputs[i].Index || !slices.Contains(may, digest.Digest(k.inputs[i].Digest)) {
			return false
		}
	}
	return true
}

// vertices are the steps of a definition, in its order. What cannot be read is left out, and so is the last, which only names the result.
func vertices(def *pb.Definition) []vertex {
	var out []vertex
	for _, raw := range def.GetDef() {
		var op pb.Op
		if op.UnmarshalVT(raw) != nil || op.Op == nil {
			continue
		}
		plain, _ := crossbuild.WithoutAid(&op)
		v := vertex{digest: digest.FromBytes(raw), inputs: plain.Inputs}
		bare := plain.CloneVT()
		bare.Inputs = nil
		if src := bare.GetSource(); src != nil {
			for name := range src.Attrs {
				// The session, and what BuildKit makes differ between two readings of one directory.
				if strings.HasSuffix(name, ".session") || name == pb.AttrLocalUniqueID || name == pb.AttrFollowPaths {
					delete(src.Attrs, name)
				}
			}
		}
		shape, err := deterministic(bare)
		if err != nil {
			continue
		}
		v.shape = shape
		out = append(out, v)
	}
	return out
}

func deterministic(op *pb.Op) (string, error) {
	raw, err := op.Marshal()
	return string(raw), err
}
