// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"slices"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// All are the aid and those with it.
func (a *Aid) All() []*Aid {
	var out []*Aid
	for ; a != nil; a = a.With {
		out = append(out, a)
	}
	return out
}

// Toolchains names the aid's and those with it.
func (a *Aid) Toolchains() []string {
	var out []string
	for _, one := range a.All() {
		out = append(out, one.Toolchain)
	}
	return out
}

// definitionOf makes a definition of what the last op of a chain makes.
func definitionOf(ops []*pb.Op, mds []*pb.OpMetadata) (*Definition, error) {
	raw, last, err := chain(ops)
	if err != nil {
		return nil, err
	}
	out := &pb.Definition{Def: raw, Metadata: map[string]*pb.OpMetadata{}}
	for i := range ops {
		out.Metadata[string(hash(raw[i]))] = mds[i]
	}
	end, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.Op{Inputs: []*pb.Input{last.input()}})
	out.Def = append(out.Def, end)
	return out, err
}

// chain marshals ops, each of which has what the one before it makes for its first input, and tells what the last makes.
func chain(ops []*pb.Op) (raw [][]byte, last edgeTo, err error) {
	for i, op := range ops {
		if i > 0 {
			op.Inputs[0] = last.input()
		}
		next, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
		if err != nil {
			return nil, last, err
		}
		raw = append(raw, next)
		last = edgeTo{digest: hash(next)}
		if op.GetExec() != nil {
			last.output = 1
		}
	}
	return raw, last, nil
}

// bring puts an op that no step of the graph is into the new definition, once.
func (r *rewriting) bring(raw []byte, md *pb.OpMetadata) {
	now := hash(raw)
	if r.beside[now] || slices.Contains(r.digests, now) {
		return
	}
	r.out.Def = append(r.out.Def, raw)
	r.out.Metadata[string(now)] = md
	if r.beside == nil {
		r.beside = map[digest.Digest]bool{}
	}
	r.beside[now] = true
}

func (t *Toolchain) usedBy(v *vertex) bool {
	if !t.isC() {
		return usesToolchain(v.op, t)
	}
	p, ok := portOf(v.Platform)
	return ok && usesC(v.op, p)
}

func (t *Toolchain) holders(list []vertex) []int {
	if t.isC() {
		return ccHolders(list)
	}
	return holders(list, t.Root)
}
