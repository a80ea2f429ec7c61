// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// rewriting makes a definition out of a graph's. What does not change stays as it is, to the byte, and so does what a cache knows it by.
type rewriting struct {
	graph *Graph
	list  []vertex
	// replaced are steps' inputs that are parts instead, cleared the steps that are not to be run for no-cache's sake.
	replaced map[input]int
	cleared  func(*Step) bool
	// source makes the step that a part is fetched by, which takes the place of that step.
	source func(part int, instead *vertex) (*pb.Op, *pb.OpMetadata)
	// edit returns another op for one, or nil. Each of the three may be nil.
	edit func(*pb.Op) *pb.Op
	// aid is that of a step here; nil if it has none. It may be nil itself.
	aid func(*Step) *Aid

	out     *pb.Definition
	changed bool
	digests []digest.Digest        // of what has become of each step, empty if it is not there
	fetched map[int]digest.Digest  // by part
	beside  map[digest.Digest]bool // the images that aids were taken from
}

// input is one of a step, which is -1 for what points at the result.
type input struct{ step, at int }

// from makes a definition of the result root. If nothing changes, and root is the graph's result, it is the graph's own.
func (r *rewriting) from(root edge) (*pb.Definition, error) {
	if err := r.body(root); err != nil {
		return nil, err
	}
	o := r.graph.origin
	if root == o.result {
		if !r.changed {
			return o.def, nil
		}
		raw := o.def.GetDef()[len(o.def.GetDef())-1]
		op := new(pb.Op)
		if err := proto.Unmarshal(raw, op); err != nil {
			return nil, fmt.Errorf("rewriting a build graph: %w", err)
		}
		if r.result(root) == (edgeTo{digest.Digest(op.GetInputs()[0].GetDigest()), op.GetInputs()[0].GetIndex()}) {
			r.put(hash(raw), hash(raw), raw)
			return r.out, nil
		}
		op.Inputs = op.Inputs[:1]
		op.Inputs[0] = r.result(root).input()
		_, err := r.add(op, hash(raw))
		return r.out, err
	}
	_, err := r.add(&pb.Op{Inputs: []*pb.Input{r.result(root).input()}}, "")
	return r.out, err
}

// edgeTo is a result in the definition that is made.
type edgeTo struct {
	digest digest.Digest
	output int64
}

func (e edgeTo) input() *pb.Input { return &pb.Input{Digest: string(e.digest), Index: e.output} }

func (r *rewriting) result(root edge) edgeTo {
	if part, ok := r.replaced[input{step: -1}]; ok {
		return edgeTo{digest: r.fetched[part]}
	}
	return edgeTo{digest: r.digests[root.from], output: root.output}
}

// body puts what root needs into the new definition, inputs first.
func (r *rewriting) body(root edge) error {
	r.out = &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	if src := r.graph.origin.def.GetSource(); src != nil {
		r.out.Source = &pb.Source{Infos: src.GetInfos(), Locations: map[string]*pb.Locations{}}
	}
	r.digests, r.fetched = make([]digest.Digest, len(r.list)), map[int]digest.Digest{}
	if part, ok := r.replaced[input{step: -1}]; ok {
		return r.fetch(part, &r.list[root.from])
	}
	needed := remaining(r.list, root, r.replaced)
	for i := range r.list[:root.from+1] {
		if needed[i] {
			if err := r.step(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rewriting) step(i int) error {
	v := &r.list[i]
	var op *pb.Op
	if r.edit != nil {
		op = r.edit(v.op) // a source's, which has no inputs
	}
	change := func(k int, to edgeTo) {
		if op == nil {
			op = withInputs(v.op)
		}
		op.Inputs[k] = to.input()
	}
	for k, in := range v.inputs {
		if part, ok := r.replaced[input{i, k}]; ok {
			if err := r.fetch(part, &r.list[in.from]); err != nil {
				return err
			}
			change(k, edgeTo{digest: r.fetched[part]})
		} else if now := r.digests[in.from]; now != r.list[in.from].Digest {
			change(k, edgeTo{now, in.output})
		}
	}
	aid := r.aided(v)
	if aid != nil {
		var err error
		if op, err = r.assist(v, op, aid); err != nil {
			return err
		}
	}
	r.digests[i] = v.Digest
	if op != nil {
		var err error
		if r.digests[i], err = r.add(op, v.Digest); err != nil {
			return err
		}
	} else {
		r.put(v.Digest, v.Digest, r.graph.origin.raw[i])
	}
	r.describe(v, r.digests[i], aid)
	return nil
}

// describe changes the metadata of a step that is assisted, or that is not to be run for no-cache's sake.
func (r *rewriting) describe(v *vertex, now digest.Digest, aid *Aid) {
	md := r.out.Metadata[string(now)]
	clear := md.GetIgnoreCache() && r.cleared != nil && r.cleared(v.Step)
	if !clear && aid == nil {
		return
	}
	if md = md.CloneVT(); md == nil {
		md = &pb.OpMetadata{}
	}
	if clear {
		md.IgnoreCache = false
	}
	if aid != nil {
		md.Caps = aid.needs(md.Caps)
		if md.Description == nil {
			md.Description = map[string]string{}
		}
		md.Description["llb.customname"] = v.Name + " (assisted by " + strings.Join(aid.Toolchains(), " and ") + ")"
	}
	r.out.Metadata[string(now)] = md
	r.changed = true
}

// withInputs copies op so that the copy's inputs can be replaced. It shares all else with op.
func withInputs(op *pb.Op) *pb.Op {
	c := &pb.Op{Inputs: slices.Clone(op.GetInputs()), Op: op.GetOp(), Platform: op.GetPlatform(), Constraints: op.GetConstraints()}
	c.ProtoReflect().SetUnknown(op.ProtoReflect().GetUnknown())
	return c
}

// add appends op, which stands for the step that was once was, if any.
func (r *rewriting) add(op *pb.Op, was digest.Digest) (digest.Digest, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
	if err != nil {
		return "", fmt.Errorf("rewriting a build graph: %w", err)
	}
	r.changed = true
	now := hash(raw)
	r.put(now, was, raw)
	return now, nil
}

func (r *rewriting) put(now, was digest.Digest, raw []byte) {
	def := r.graph.origin.def
	if !r.beside[now] { // Else it is there.
		r.out.Def = append(r.out.Def, raw)
	}
	if md := def.GetMetadata()[string(was)]; md != nil {
		r.out.Metadata[string(now)] = md
	}
	r.locate(now, was)
}

func (r *rewriting) locate(now, was digest.Digest) {
	if l := r.graph.origin.def.GetSource().GetLocations()[string(was)]; l != nil {
		r.out.Source.Locations[string(now)] = l
	}
}

// locateAs has a new step come from where a step of another graph does.
func (r *rewriting) locateAs(now digest.Digest, other *origin, step digest.Digest) {
	from := other.def.GetSource()
	l := from.GetLocations()[string(step)]
	if l == nil || r.out.Source == nil {
		return
	}
	if other != r.graph.origin {
		l = l.CloneVT()
		for _, at := range l.GetLocations() {
			at.SourceIndex += int32(len(r.out.Source.Infos))
		}
		r.out.Source.Infos = slices.Concat(r.out.Source.Infos, from.GetInfos())
	}
	r.out.Source.Locations[string(now)] = l
}

func (r *rewriting) fetch(part int, instead *vertex) error {
	if _, ok := r.fetched[part]; ok {
		return nil
	}
	op, md := r.source(part, instead)
	now, err := r.add(op, "")
	if err != nil {
		return err
	}
	r.out.Metadata[string(now)] = md
	r.locate(now, instead.Digest)
	r.fetched[part] = now
	return nil
}

// supply tells what is there for one definition. It asks for each part once.
type supply struct {
	*Cut
	have  Imports
	first []int // the parts that are meant for it
	end   int   // parts before it may be used
	asked map[int]*Import
}

func (c *Cut) supply(have Imports, first []int, end int) *supply {
	return &supply{Cut: c, have: have, first: first, end: end, asked: map[int]*Import{}}
}

func (s *supply) get(part int) *Import {
	got, ok := s.asked[part]
	if !ok {
		if i, made := s.have(part); made {
			got = &i
		}
		s.asked[part] = got
	}
	return got
}

// part finds one that is there and holds what is taken of a result of v.
func (s *supply) part(v *vertex, t take) (int, bool) {
	best := -1
	for _, p := range s.values[v.Identity] {
		m := &s.makes[p]
		if p >= s.end || s.Parts[p].Output != t.output || m.want != nil && (t.whole || !m.want.holds(t.want)) {
			continue
		}
		if got := s.get(p); got == nil || got.Ref == "" {
			continue
		}
		if best < 0 || !slices.Contains(s.first, best) && slices.Contains(s.first, p) {
			best = p
		}
	}
	return best, best >= 0
}

// cleared tells whether a step was done for a part that need not be fetched.
func (s *supply) cleared(st *Step) bool {
	id, ok := s.ids[st.Identity]
	if !ok {
		return false
	}
	for p := range s.makes[:s.end] {
		m := &s.makes[p]
		if got := s.get(p); got != nil && got.Ref == "" && m.does.covers.has(id) {
			return true
		}
	}
	return false
}

// replace finds what is replaced below root in a graph's steps, and keeps steps that are done here after all: if one has a result for which
// there is no part, its others are taken from here as well, so that an image is made of one run of it.
func (s *supply) replace(list []vertex, root edge, inner bool, kept map[digest.Digest]bool) map[input]int {
	replaced := map[input]int{}
	if !inner && !kept[list[root.from].Identity] {
		if p, ok := s.part(&list[root.from], take{edge: root, whole: true}); ok {
			replaced[input{step: -1}] = p
			return replaced
		}
	}
	needed := make([]bool, len(list))
	needed[root.from] = true
	for i := root.from; i >= 0; i-- {
		if !needed[i] {
			continue
		}
		v := &list[i]
		if !s.offers(list, v) {
			for _, in := range v.inputs {
				needed[in.from] = true
			}
			continue
		}
		for _, t := range v.takes() {
			from := &list[t.from]
			p, ok := -1, false
			if !kept[from.Identity] {
				p, ok = s.part(from, t)
			}
			for _, at := range t.at {
				if ok {
					replaced[input{i, at}] = p
				}
			}
			needed[t.from] = needed[t.from] || !ok
		}
	}
	return replaced
}

// offers is whether any of v's inputs is a result of which there are parts.
func (s *supply) offers(list []vertex, v *vertex) bool {
	return slices.ContainsFunc(v.inputs, func(in edge) bool { return len(s.values[list[in.from].Identity]) > 0 })
}

// keep finds the steps of a graph of which some result is replaced and another is not.
func (s *supply) keep(list []vertex, root edge, inner bool) map[digest.Digest]bool {
	kept := map[digest.Digest]bool{}
	for {
		replaced := s.replace(list, root, inner, kept)
		done := remaining(list, root, replaced)
		before := len(kept)
		for in := range replaced {
			if in.step < 0 {
				continue
			}
			if from := list[in.step].inputs[in.at].from; done[from] {
				kept[list[from].Identity] = true
			}
		}
		if len(kept) == before {
			return kept
		}
	}
}

// remaining are the steps that are still done where inputs are replaced.
func remaining(list []vertex, root edge, replaced map[input]int) []bool {
	needed := make([]bool, len(list))
	if _, ok := replaced[input{step: -1}]; ok {
		return needed
	}
	needed[root.from] = true
	for i := root.from; i >= 0; i-- {
		for k, in := range list[i].inputs {
			if _, ok := replaced[input{i, k}]; needed[i] && !ok {
				needed[in.from] = true
			}
		}
	}
	return needed
}

// source names a part as a definition does.
func (s *supply) source(part int, instead *vertex) (*pb.Op, *pb.OpMetadata) {
	got, p := s.get(part), &s.Parts[part]
	op := &pb.Op{
		Op: &pb.Op_Source{Source: &pb.SourceOp{
			Identifier: "oci-layout://" + got.Ref,
			Attrs:      map[string]string{pb.AttrOCILayoutStoreID: got.Store},
		}},
		Platform:    instead.op.GetPlatform(),
		Constraints: &pb.WorkerConstraints{},
	}
	if op.Platform == nil && instead.Platform.OS != "" {
		op.Platform = pb.PlatformFromSpec(instead.Platform.OCI())
	}
	what := "[mab] "
	if len(p.Paths) > 0 {
		what += strings.Join(p.Paths, ", ") + " of "
	}
	return op, &pb.OpMetadata{
		Description: map[string]string{"llb.customname": what + p.Step.Name + ", made on " + p.Node},
		Caps:        map[string]bool{string(pb.CapSourceOCILayout): true, string(pb.CapMetaDescription): true},
	}
}
