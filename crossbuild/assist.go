// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// Aid is how the hot programs of a toolchain are native in a step that is emulated.
type Aid struct {
	// Toolchain is its name.
	Toolchain string `json:"toolchain"`
	// Image is the reference, with its digest, of the image that the step's toolchain comes from, and Platform the step's.
	Image    string             `json:"image"`
	Platform platforms.Platform `json:"-"`
	// Native is the platform of that image whose programs run instead.
	Native platforms.Platform `json:"native"`
	// Equal is how it is known that the result is the same.
	Equal Equality `json:"equality"`
	// With is another toolchain's aid in the same step. Nil: there is none.
	With *Aid `json:"with,omitempty"`

	source *pb.Op // the image as the step has it
	caps   map[string]bool
	tools  []CTool // of a toolchain that is packed, and those that are replaced
	equal  []CTool
}

// Candidate is an image that steps may have a toolchain of, as far as a graph tells.
type Candidate struct{ aid Aid }

// Image is the reference of the image, with its digest.
func (c *Candidate) Image() string { return c.aid.Image }

// Toolchain is what it may hold.
func (c *Candidate) Toolchain() Toolchain {
	t, _ := toolchain(c.aid.Toolchain)
	return *t
}

// Platform is the one of the image that the steps are made of.
func (c *Candidate) Platform() platforms.Platform { return c.aid.Platform }

// String names it in a sentence.
func (c *Candidate) String() string {
	t := c.Toolchain()
	return fmt.Sprintf("%s of %s for %s", t.Title, c.aid.Image, c.aid.Platform)
}

// Files are what the image must hold for a platform: the file that tells the version, and a program.
func (c *Candidate) Files(p platforms.Platform) (version, tool string) {
	t := c.Toolchain()
	return path.Join(t.Root, t.Version), path.Join(t.tools(p), t.Tool)
}

// Definition makes the image for a platform, to look into it.
func (c *Candidate) Definition(p platforms.Platform) (*Definition, error) {
	aid := c.Aid(p)
	op, md := aid.sibling()
	return definitionOf([]*pb.Op{op}, []*pb.OpMetadata{md})
}

// Aid is what the image does for its steps on a node that is native to a platform.
func (c *Candidate) Aid(native platforms.Platform) Aid {
	aid := c.aid
	aid.Native = native
	return aid
}

// Candidates lists the images, each for each platform once, that may hold a toolchain which programs of graphs run of a platform that
// foreign says is so. They are pinned to a digest, so that what is found out about one stays true.
func Candidates(graphs []*Graph, use Assists, foreign func(platforms.Platform) bool) []Candidate {
	var list []Candidate
	for _, g := range graphs {
		for t := range toolchains {
			if !use.Has(&toolchains[t]) || g == nil || g.origin == nil {
				continue
			}
			vertices := g.vertices()
			for i, at := range assistable(vertices, &toolchains[t]) {
				if at < 0 || !foreign(vertices[i].Platform) {
					continue
				}
				aid := Aid{
					Toolchain: toolchains[t].Name, Image: imageOf(&vertices[at]), Platform: vertices[i].Platform, Equal: toolchains[t].Equal,
					source: vertices[at].op, caps: g.origin.def.GetMetadata()[string(vertices[at].Digest)].GetCaps(),
				}
				if !slices.ContainsFunc(list, func(c Candidate) bool { return c.aid.same(&aid) }) {
					list = append(list, Candidate{aid})
				}
			}
		}
	}
	return list
}

func (a *Aid) same(o *Aid) bool {
	return a.Toolchain == o.Toolchain && a.Image == o.Image && a.Platform == o.Platform
}

func imageOf(v *vertex) string {
	_, ref, _ := strings.Cut(v.Source, "://")
	return ref
}

// WithAids returns g, whose steps have those of the aids that are for them. g does not change.
func (g *Graph) WithAids(aids []Aid) *Graph {
	if g == nil || g.origin == nil || len(aids) == 0 {
		return g
	}
	out := &Graph{Target: g.Target, Steps: slices.Clone(g.Steps), origin: g.origin}
	vertices := g.vertices()
	for t := range toolchains {
		for i, at := range assistable(vertices, &toolchains[t]) {
			if at < 0 {
				continue
			}
			want := Aid{Toolchain: toolchains[t].Name, Image: imageOf(&vertices[at]), Platform: vertices[i].Platform}
			for k := range aids {
				if aids[k].same(&want) {
					out.Steps[i].Aids = append(slices.Clip(out.Steps[i].Aids), aids[k])
				}
			}
		}
	}
	return out
}

// WithoutAids returns g, whose steps are not aided by any of these toolchains. g does not change.
func (g *Graph) WithoutAids(toolchains []string) *Graph {
	if g == nil || len(toolchains) == 0 {
		return g
	}
	out := &Graph{Target: g.Target, Steps: slices.Clone(g.Steps), origin: g.origin}
	for i := range out.Steps {
		s := &out.Steps[i]
		if len(s.Aids) > 0 {
			s.Aids = slices.DeleteFunc(slices.Clone(s.Aids), func(a Aid) bool { return slices.Contains(toolchains, a.Toolchain) })
		}
	}
	return out
}

// assistable finds for each step that may be assisted the image that its toolchain comes from; -1 for all others.
func assistable(list []vertex, t *Toolchain) []int {
	out := make([]int, len(list))
	var held []int
	for i := range list {
		v := &list[i]
		out[i] = unknown
		if v.Kind != KindExec || v.op == nil || !t.usedBy(v) {
			continue
		}
		if held == nil {
			held = t.holders(list)
		}
		in := base(v.op)
		if in < 0 {
			continue
		}
		from := v.inputs[in]
		if from.output != mainOutput(list[from.from].op) {
			continue
		}
		at := held[from.from]
		if at >= 0 && list[at].Platform == v.Platform && v.Platform.OS == "linux" && pinned(imageOf(&list[at])) {
			out[i] = at
		}
	}
	return out
}

func pinned(ref string) bool { return strings.Contains(ref, "@sha256:") }

// usesToolchain reports whether a step finds a toolchain in its PATH, and lets its programs be replaced.
func usesToolchain(op *pb.Op, t *Toolchain) bool {
	exec := op.GetExec()
	if exec.GetSecurity() != pb.SecurityMode_SANDBOX {
		return false
	}
	dir := path.Dir(path.Join(t.Root, t.Tools))
	for _, m := range exec.GetMounts() {
		if !isRoot(m) && nested(m.GetDest(), dir) {
			return false
		}
	}
	search := ""
	for _, e := range exec.GetMeta().GetEnv() {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	return slices.Contains(strings.Split(search, ":"), path.Join(t.Root, t.Programs))
}

// AidOn is the aid that a step has on a node, without those of toolchains that are off; nil if it has none there, or needs none.
func (s *Step) AidOn(node Ability, off ...string) *Aid {
	if len(s.Aids) == 0 || node == nil || node.Native(s.Platform) {
		return nil
	}
	var list []Aid
	for i := range s.Aids {
		a := &s.Aids[i]
		have := slices.ContainsFunc(list, func(o Aid) bool { return o.Toolchain == a.Toolchain })
		if node.Native(a.Native) && !have && !slices.Contains(off, a.Toolchain) {
			list = append(list, *a)
		}
	}
	if len(list) == 0 {
		return nil
	}
	for i := range list[1:] {
		list[i].With = &list[i+1]
	}
	return &list[0]
}

// sibling is the image for the native platform.
func (a *Aid) sibling() (*pb.Op, *pb.OpMetadata) {
	op := a.source.CloneVT()
	op.Platform = pb.PlatformFromSpec(a.Native.OCI())
	caps := map[string]bool{string(pb.CapMetaDescription): true}
	maps.Copy(caps, a.caps)
	t, _ := toolchain(a.Toolchain)
	return op, &pb.OpMetadata{
		Description: map[string]string{"llb.customname": "[mab] " + t.Title + " for " + a.Native.String() + " of " + a.Image},
		Caps:        caps,
	}
}

// assist returns the op of a step with what an aid adds, and those with it. changed is the step's with the inputs of the new definition, nil: as they were.
func (r *rewriting) assist(v *vertex, changed *pb.Op, a *Aid) (*pb.Op, error) {
	exec := v.op.CloneVT()
	if changed != nil {
		exec.Inputs = slices.Clone(changed.Inputs)
	}
	for _, one := range a.All() {
		image, md := one.sibling()
		ops, mds := []*pb.Op{image}, []*pb.OpMetadata{md}
		t, _ := toolchain(one.Toolchain)
		if t.isC() {
			ops, mds = one.helper()
		}
		raw, from, err := chain(ops)
		if err != nil {
			return nil, err
		}
		for i := range raw {
			r.bring(raw[i], mds[i])
		}
		exec.Inputs = append(exec.Inputs, from.input())
		if t.isC() {
			one.ccMounts(exec)
			continue
		}
		exec.GetExec().Mounts = append(exec.GetExec().Mounts, &pb.Mount{
			Input: int64(len(exec.Inputs)) - 1, Selector: t.tools(one.Native), Dest: t.tools(one.Platform), Output: int64(pb.SkipOutput), Readonly: true,
		})
	}
	return exec, nil
}

// aided is the aid of a step in this definition; nil if it has none.
func (r *rewriting) aided(v *vertex) *Aid {
	if r.aid == nil || v.Kind != KindExec {
		return nil
	}
	return r.aid(v.Step)
}

// needs is what solvers must be able to do for the mount of an aid, beside what they must for the step.
func (a *Aid) needs(more map[string]bool) map[string]bool {
	caps := map[string]bool{string(pb.CapExecMountBind): true, string(pb.CapExecMountSelector): true}
	maps.Copy(caps, more)
	return caps
}

// aidsOf are the steps of graphs that may be assisted, by Identity: other definitions of the same request, such as those of attestations, have
// the same.
func aidsOf(graphs []*Graph, at Places) map[digest.Digest]*Step {
	var out map[digest.Digest]*Step
	for _, g := range graphs {
		if g == nil || at.Assist == nil {
			continue
		}
		for i := range g.Steps {
			if s := &g.Steps[i]; len(s.Aids) > 0 {
				if out == nil {
					out = map[digest.Digest]*Step{}
				}
				out[s.Identity] = s
			}
		}
	}
	return out
}

// aidAt finds the aids of steps on a node; nil if no step has any.
func (c *Cut) aidAt(node string) func(*Step) *Aid {
	if len(c.aids) == 0 {
		return nil
	}
	return func(s *Step) *Aid {
		known := c.aids[s.Identity]
		if known == nil {
			return nil
		}
		return c.assist(node, known)
	}
}

// WithoutAid returns an exec op as it was before it was assisted, and whether it was. The inputs that it had more were its last.
func WithoutAid(op *pb.Op) (*pb.Op, bool) {
	assisted := false
	for {
		out, one := withoutOne(op)
		if !one {
			return op, assisted
		}
		op, assisted = out, true
	}
}

func withoutOne(op *pb.Op) (*pb.Op, bool) {
	if out, ok := withoutC(op); ok {
		return out, true
	}
	mounts, last := op.GetExec().GetMounts(), int64(len(op.GetInputs()))-1
	if len(mounts) < 2 {
		return op, false
	}
	m := mounts[len(mounts)-1]
	if m.GetInput() != last || !m.GetReadonly() || m.GetSelector() == m.GetDest() || !isTools(m.GetSelector()) || !isTools(m.GetDest()) {
		return op, false
	}
	out := op.CloneVT()
	out.Inputs = out.Inputs[:last]
	out.GetExec().Mounts = out.GetExec().Mounts[:len(mounts)-1]
	return out, true
}

// isTools reports whether a directory is the one of a toolchain's tools for some architecture.
func isTools(dir string) bool {
	return slices.ContainsFunc(toolchains, func(t Toolchain) bool {
		prefix, _, _ := strings.Cut(path.Join(t.Root, t.Tools), "ARCH")
		return prefix != "" && strings.HasPrefix(dir, prefix)
	})
}

// Changes returns the definition of what a step of a graph changes in the file system that it runs in, as it is done at the graph's home; nil
// if nothing of that is kept.
func (c *Cut) Changes(graph int, step digest.Digest) (*pb.Definition, error) {
	g, h := c.graphs[graph], &c.homes[graph]
	at := slices.IndexFunc(h.list, func(v vertex) bool { return v.Digest == step && v.Kind == KindExec })
	if g.origin == nil || at < 0 {
		return nil, errNoDefinition
	}
	output, in := mainOutput(h.list[at].op), base(h.list[at].op)
	if output < 0 || in < 0 {
		return nil, nil
	}
	r := &rewriting{graph: g, list: h.list, aid: c.aidAt(c.at[graph])}
	if err := r.body(edge{from: at, output: output}); err != nil {
		return nil, err
	}
	before := h.list[at].inputs[in]
	now, err := r.add(&pb.Op{
		Inputs: []*pb.Input{edgeTo{r.digests[before.from], before.output}.input(), edgeTo{r.digests[at], output}.input()},
		Op:     &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 0}, Upper: &pb.UpperDiffInput{Input: 1}}},
	}, "")
	if err == nil {
		_, err = r.add(&pb.Op{Inputs: []*pb.Input{edgeTo{digest: now}.input()}}, "")
	}
	return r.out, err
}
