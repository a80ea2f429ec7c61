// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/mab-build/mab/platforms"
)

// FormatError is a definition that mab cannot read: it is malformed, or made for another version of BuildKit.
type FormatError struct {
	Target platforms.Platform
	Step   string // name of the step that is wrong, empty if it is the whole
	Reason string
}

// Error names the target, the step and what is wrong with it.
func (e *FormatError) Error() string {
	if e.Step == "" {
		return fmt.Sprintf("reading the build graph of %s: %s", e.Target, e.Reason)
	}
	return fmt.Sprintf("reading the build graph of %s: step %q: %s", e.Target, e.Step, e.Reason)
}

// Hint tells whose graph it is and what to change.
func (e *FormatError) Hint() string {
	return "the frontend made a graph that BuildKit v0.33 does not know; name another version of it in the '# syntax=' line of the Dockerfile"
}

// Read returns the graph of a marshalled LLB definition, made by a frontend for target. Steps that the result does not
// depend on are left out, as BuildKit does. An empty definition (FROM scratch and nothing else) is an empty graph, nil
// too. Steps that should name a platform but don't (BuildKit's own frontends always do) get target. Its error is a
// *FormatError. The graph keeps def, to make other definitions of it: def must not be changed afterwards.
func Read(target platforms.Platform, def *pb.Definition) (*Graph, error) {
	return ReadOf(target, def, Own{})
}

// ReadOf is Read for one of several requests that are built together: steps that use what is the request's own are equal only to those of
// requests that have the same.
func ReadOf(target platforms.Platform, def *pb.Definition, own Own) (*Graph, error) {
	r := &reader{
		target: target, def: def, own: own,
		ops:   make(map[digest.Digest]*pb.Op, len(def.GetDef())),
		raw:   make(map[digest.Digest][]byte, len(def.GetDef())),
		index: make(map[digest.Digest]int, len(def.GetDef())),
	}
	if len(def.GetDef()) == 0 {
		return &Graph{Target: target, own: own}, nil
	}
	var last digest.Digest
	for i, raw := range def.GetDef() {
		op := new(pb.Op)
		// Not op.Unmarshal, whose generated code recurses into nested definitions until the stack ends, which kills the
		// process; this one stops at a depth.
		if err := proto.Unmarshal(raw, op); err != nil {
			return nil, &FormatError{Target: target, Reason: fmt.Sprintf("op %d: %v", i, err)}
		}
		last = hash(raw)
		r.ops[last], r.raw[last] = op, raw
	}
	// The last op is no step but points at the result, by its first input.
	result := r.ops[last].GetInputs()
	if len(result) == 0 {
		return nil, &FormatError{Target: target, Reason: "the last op names no result"}
	}
	if err := r.input(result[0]); err != nil {
		return nil, err
	}
	r.origin.def = def
	r.origin.result = edge{from: r.index[digest.Digest(result[0].GetDigest())], output: result[0].GetIndex()}
	return &Graph{Target: target, Steps: r.steps, origin: &r.origin, own: own}, nil
}

// reader collects steps in topological order: a step is added after its inputs.
type reader struct {
	target  platforms.Platform
	own     Own
	def     *pb.Definition
	ops     map[digest.Digest]*pb.Op
	raw     map[digest.Digest][]byte
	origin  origin
	steps   []Step
	outputs []int64               // of each step
	index   map[digest.Digest]int // in steps
}

// input adds the step that in points at. It ends because an op names its inputs by the hash of their bytes: nobody can
// make a cycle.
func (r *reader) input(in *pb.Input) error {
	d := digest.Digest(in.GetDigest())
	op, ok := r.ops[d]
	if !ok {
		return &FormatError{Target: r.target, Step: in.GetDigest(), Reason: "it is needed but not there"}
	}
	if _, done := r.index[d]; !done {
		if err := r.add(d, op); err != nil {
			return err
		}
	}
	if n := r.outputs[r.index[d]]; in.GetIndex() < 0 || in.GetIndex() >= n {
		return r.wrong(d, op, fmt.Sprintf("result %d is asked for, it has %d", in.GetIndex(), n))
	}
	return nil
}

func (r *reader) add(d digest.Digest, op *pb.Op) error {
	if reason := check(op); reason != "" {
		return r.wrong(d, op, reason)
	}
	for _, in := range op.GetInputs() {
		if err := r.input(in); err != nil {
			return err
		}
	}
	s, err := r.step(d, op)
	if err != nil {
		return err
	}
	r.index[d] = len(r.steps)
	r.origin.add(op, r.raw[d], r.index)
	r.steps = append(r.steps, s)
	r.outputs = append(r.outputs, outputs(op))
	return nil
}

func (r *reader) step(d digest.Digest, op *pb.Op) (Step, error) {
	md := r.def.GetMetadata()[string(d)]
	s := Step{Digest: d, Kind: kind(op), Name: name(op, md), NoCache: md.GetIgnoreCache()}
	for _, in := range op.GetInputs() {
		s.Inputs = append(s.Inputs, digest.Digest(in.GetDigest()))
	}
	s.Args = op.GetExec().GetMeta().GetArgs()
	s.Source = op.GetSource().GetIdentifier()
	s.Uses = uses(op)
	var err error
	if s.Platform, err = r.platform(d, op); err != nil {
		return s, err
	}
	if s.Identity, err = r.identity(d, op); err != nil {
		return s, r.wrong(d, op, err.Error())
	}
	s.Locations, err = r.locations(d, op)
	return s, err
}

func (r *reader) wrong(d digest.Digest, op *pb.Op, reason string) error {
	step := name(op, r.def.GetMetadata()[string(d)])
	if step == "" {
		step = string(d)
	}
	return &FormatError{Target: r.target, Step: step, Reason: reason}
}

// platform follows the file system: a step that names no platform has that of the input it changes.
func (r *reader) platform(d digest.Digest, op *pb.Op) (platforms.Platform, error) {
	if p := op.GetPlatform(); p.GetOS() != "" || p.GetArchitecture() != "" {
		if !word(p.OS) || !word(p.Architecture) || p.Variant != "" && !word(p.Variant) {
			return platforms.Platform{}, r.wrong(d, op, fmt.Sprintf("%q is no platform", p.OS+"/"+p.Architecture+"/"+p.Variant))
		}
		return platforms.FromOCI(p.Spec()), nil
	}
	if b := base(op); b >= 0 {
		if p := r.steps[r.index[digest.Digest(op.Inputs[b].GetDigest())]].Platform; p != (platforms.Platform{}) {
			return p, nil
		}
	}
	switch kind(op) {
	case KindExec, KindBuild, KindImage, KindOCILayout:
		return r.target, nil
	}
	return platforms.Platform{}, nil
}

// word reports whether s may be a part of a platform's name, by containerd's rule (platforms.Parse).
func word(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789_.-") == ""
}

func (r *reader) locations(d digest.Digest, op *pb.Op) ([]Location, error) {
	var list []Location
	infos := r.def.GetSource().GetInfos()
	for _, l := range r.def.GetSource().GetLocations()[string(d)].GetLocations() {
		i := int(l.GetSourceIndex())
		if i < 0 || i >= len(infos) {
			return nil, r.wrong(d, op, fmt.Sprintf("it lies in source file %d of %d", i, len(infos)))
		}
		file := oneLine(infos[i].GetFilename())
		if len(l.GetRanges()) == 0 {
			list = append(list, Location{File: file})
		}
		for _, span := range l.GetRanges() {
			next := Location{File: file, Start: int(span.GetStart().GetLine()), End: int(span.GetEnd().GetLine())}
			// The Dockerfile frontend gives each line of a command its own range.
			if n := len(list) - 1; n >= 0 && list[n].File == file && list[n].End+1 == next.Start {
				list[n].End = next.End
				continue
			}
			list = append(list, next)
		}
	}
	return list, nil
}
