// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"errors"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

var errNoDefinition = errors.New("making a definition: the graph was not read from one")

// Part returns the definition that makes a part: a file system that holds what travels of it.
func (c *Cut) Part(part int, have Imports) (*pb.Definition, error) {
	m := &c.makes[part]
	g, list := c.graphs[m.graph], c.homes[m.graph].list
	if g.origin == nil {
		return nil, errNoDefinition
	}
	s := c.supply(have, c.Parts[part].Needs, part)
	root := edge{from: m.step, output: c.Parts[part].Output}
	r := &rewriting{
		graph: g, list: list, replaced: s.replace(list, root, true, s.keep(list, root, true)), cleared: s.cleared, source: s.source,
		aid: c.aidAt(c.Parts[part].Node),
	}
	if m.want == nil {
		return r.from(root)
	}
	if err := r.body(root); err != nil {
		return nil, err
	}
	op, md := thin(m.want, edgeTo{digest: r.digests[root.from], output: root.output})
	if v := &list[m.step]; v.Platform.OS != "" {
		op.Platform = pb.PlatformFromSpec(v.Platform.OCI())
	}
	md.Description = map[string]string{
		"llb.customname": "[mab] " + strings.Join(c.Parts[part].Paths, ", ") + " out of " + list[m.step].Name,
	}
	now, err := r.add(op, "")
	if err != nil {
		return nil, err
	}
	r.out.Metadata[string(now)] = md
	// A path that is not there fails here, where the author of the copy is to be shown that copy.
	if m.reader.step >= 0 {
		r.locateAs(now, c.graphs[m.reader.graph].origin, c.homes[m.reader.graph].list[m.reader.step].Digest)
	}
	_, err = r.add(&pb.Op{Inputs: []*pb.Input{edgeTo{digest: now}.input()}}, "")
	return r.out, err
}

// thin is the step that copies a bundle onto nothing.
func thin(want bundle, from edgeTo) (*pb.Op, *pb.OpMetadata) {
	file := &pb.FileOp{}
	caps := map[string]bool{string(pb.CapFileBase): true, string(pb.CapMetaDescription): true}
	for i := range want {
		if len(want[i].Include)+len(want[i].Exclude) > 0 {
			caps[string(pb.CapFileCopyIncludeExcludePatterns)] = true
		}
		for _, a := range want[i].actions() {
			// Inputs of actions count on after those of the step: 0 is the value, 1 the first action's result.
			a.Input, a.SecondaryInput, a.Output = int64(len(file.Actions)), int64(pb.Empty), int64(pb.SkipOutput)
			if len(file.Actions) == 0 {
				a.Input = int64(pb.Empty)
			}
			if a.GetCopy() != nil {
				a.SecondaryInput = 0
			}
			file.Actions = append(file.Actions, a)
		}
	}
	file.Actions[len(file.Actions)-1].Output = 0
	return &pb.Op{Inputs: []*pb.Input{from.input()}, Op: &pb.Op_File{File: file}, Constraints: &pb.WorkerConstraints{}}, &pb.OpMetadata{Caps: caps}
}

// Target returns def, whose steps are those of a graph and what depends on them, with each step that have gives replaced by its import.
// def itself does not change; it may be the one that the graph was read from, or another one of the same request, such as that of an
// attestation. Where nothing is replaced it is returned as it is; its metadata may be shared with the result in any case.
func (c *Cut) Target(graph int, def *pb.Definition, have Imports) (*pb.Definition, error) {
	g, h := c.graphs[graph], &c.homes[graph]
	if len(c.Parts) == 0 && len(c.aids) == 0 || len(def.GetDef()) == 0 || g == nil || len(g.Steps) == 0 {
		return def, nil
	}
	s := c.supply(have, h.uses, len(c.Parts))
	kept := s.keep(h.list, g.result(), false)
	list := h.list
	if g.origin == nil || g.origin.def != def {
		other, err := ReadOf(g.Target, def, g.own)
		if err != nil {
			return nil, err
		}
		g, list = other, other.vertices()
	}
	r := &rewriting{
		graph: g, list: list, replaced: s.replace(list, g.result(), false, kept), cleared: s.cleared, source: s.source,
		aid: c.aidAt(c.at[graph]),
	}
	return r.from(g.result())
}

// Early returns what the home of a graph can do before the parts are there, as definitions of their own, to be solved in the same build as the
// target. What runs no program is not worth it. It is nil where nothing has to be waited for.
func (c *Cut) Early(graph int) []*pb.Definition {
	g, h := c.graphs[graph], &c.homes[graph]
	if len(h.uses) == 0 || g.origin == nil {
		return nil
	}
	var list []*pb.Definition
	for i, output := range h.ready(c.waiting(h)) {
		if output < 0 {
			continue
		}
		r := &rewriting{graph: g, list: h.list, aid: c.aidAt(c.at[graph])}
		if def, err := r.from(edge{from: i, output: output}); err == nil {
			list = append(list, def)
		}
	}
	return list
}

// waiting are the steps at home that need a part, or that one runs.
func (c *Cut) waiting(h *home) []bool {
	waits := make([]bool, len(h.list))
	for _, t := range h.does.imports {
		if t.reader >= 0 {
			waits[t.reader] = true
		}
	}
	for i := range h.list {
		v := &h.list[i]
		waits[i] = waits[i] || v.Runs() && c.madeAt(h.uses, v)
		for _, in := range v.inputs {
			waits[i] = waits[i] || waits[in.from]
		}
	}
	return waits
}

// ready is for each step the result of it that can be made before the others need it, -1 if there is none, or if one that needs it comes instead.
func (h *home) ready(waits []bool) []int64 {
	list := make([]int64, len(h.list))
	instead := make([]bool, len(h.list))
	for i := range h.list {
		list[i] = -1
		for _, in := range h.list[i].inputs {
			switch {
			case !h.does.steps[i]:
			case !waits[i]:
				instead[in.from], list[in.from] = true, -1
			case h.does.steps[in.from] && !waits[in.from] && !instead[in.from] && h.list[in.from].programs:
				list[in.from] = in.output
			}
		}
	}
	return list
}

// madeAt is whether one of the parts runs v.
func (c *Cut) madeAt(parts []int, v *vertex) bool {
	id := c.ids[v.Identity]
	for _, p := range parts {
		if c.makes[p].does.runs.has(id) {
			return true
		}
	}
	return false
}
