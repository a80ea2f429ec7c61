// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// request makes graphs at random: three targets that have some of their steps in common.
type request struct {
	*rand.Rand
	defs []*pb.Definition
}

func newRequest(seed uint64) *request {
	q := &request{Rand: rand.New(rand.NewPCG(seed, 2))} //nolint:gosec // what is random is to be repeated
	targets := []platforms.Platform{amd64, arm64, s390x}
	common := make([]func(*definition, []int, int) int, 12)
	for i := range common {
		common[i] = q.step(fmt.Sprint("common ", i), amd64)
	}
	for ti, p := range targets {
		var d definition
		at := []int{d.add(image(amd64, "golang")), d.add(image(p, "alpine")), d.add(local("context", fmt.Sprint(ti)))}
		for i := range common {
			if q.IntN(5) > 0 {
				at = append(at, common[i](&d, at, ti))
			}
		}
		for i := range 6 {
			of := []platforms.Platform{amd64, p}[q.IntN(2)]
			at = append(at, q.step(fmt.Sprint("own ", i, p), of)(&d, at, ti))
		}
		d.Metadata = map[string]*pb.OpMetadata{}
		for _, i := range at {
			if q.IntN(3) == 0 {
				d.Metadata[d.digest(i)] = &pb.OpMetadata{IgnoreCache: true}
			}
		}
		q.defs = append(q.defs, d.end(at[len(at)-1-q.IntN(3)]))
	}
	return q
}

// step chooses what a step does. Whatever definition it is added to, it takes the same of those of the steps before it that are there.
func (q *request) step(name string, p platforms.Platform) func(d *definition, at []int, target int) int {
	kind, a, b, path := q.IntN(8), q.IntN(100), q.IntN(100), []string{"/a", "/b", "/a/c", "/*.x"}[q.IntN(4)]
	other := []string{"/a", "/d"}[q.IntN(2)]
	cache := q.IntN(6) == 0
	insecure := q.IntN(12) == 0
	return func(d *definition, at []int, target int) int {
		x, y := at[a%len(at)], at[b%len(at)]
		switch {
		case kind < 3:
			op := exec(p, name)
			op.GetExec().Mounts = append(op.GetExec().Mounts, &pb.Mount{Dest: "/from", Input: 1, Output: -1})
			if cache {
				op.GetExec().Mounts = append(op.GetExec().Mounts, &pb.Mount{
					Dest: "/cache", Input: -1, Output: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: fmt.Sprint(a % 2)},
				})
			}
			if insecure {
				op.GetExec().Security = pb.SecurityMode_INSECURE
			}
			return d.add(op, x, y)
		case kind == 3:
			return d.add(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 0}, {Input: 1}}}}}, x, y)
		case kind == 4 && a%3 == 0:
			return d.add(&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 0}, Upper: &pb.UpperDiffInput{Input: 1}}}}, x, y)
		}
		copies := []*pb.FileActionCopy{dockerCopy(path, "/x/"+name)}
		if kind == 7 {
			copies = append(copies, dockerCopy(other, "/y/"))
		}
		return d.add(copying(copies...), x, y)
	}
}

// world interprets definitions: a value is a hash of what makes it, and of the values that it is made of. Programs are not deterministic: each
// run gives another value, unless its node has it in its cache.
type world struct {
	t     testing.TB
	parts map[string]string // the value behind each reference
	// nodes have what each node did, by what it did it to.
	nodes map[string]map[string]string
	// done are the programs that were run for parts, by node, and again those of them that were run again.
	done, again map[string]bool
	ran         int
	making      bool
	plain       bool // programs are deterministic
}

func newWorld(t testing.TB, plain bool) *world {
	return &world{
		t: t, plain: plain, parts: map[string]string{}, nodes: map[string]map[string]string{},
		done: map[string]bool{}, again: map[string]bool{},
	}
}

func (w *world) solve(node string, def *pb.Definition) string {
	w.t.Helper()
	if w.nodes[node] == nil {
		w.nodes[node] = map[string]string{}
	}
	ops, values := map[string]*pb.Op{}, map[string]string{}
	var last string
	for i, raw := range def.Def {
		op := new(pb.Op)
		if err := op.Unmarshal(raw); err != nil {
			w.t.Fatal(err)
		}
		last = fmt.Sprintf("sha256:%x", sha256.Sum256(raw))
		ops[last] = op
		for _, input := range op.Inputs {
			if ops[input.Digest] == nil {
				w.t.Fatalf("op %d comes before its input", i)
			}
		}
	}
	var need func(string) string // what nothing needs is not done
	need = func(digest string) string {
		if _, ok := values[digest]; !ok {
			var in []string
			for _, input := range ops[digest].Inputs {
				in = append(in, need(input.Digest))
			}
			values[digest] = w.value(node, ops[digest], in, def.Metadata[digest].GetIgnoreCache())
		}
		return values[digest]
	}
	return need(ops[last].Inputs[0].Digest)
}

func (w *world) value(node string, op *pb.Op, in []string, anew bool) string {
	op = op.CloneVT()
	op.Inputs = nil
	switch {
	case op.GetSource() != nil:
		if ref, ok := strings.CutPrefix(op.GetSource().Identifier, "oci-layout://"); ok {
			return w.parts[ref]
		}
		op.GetSource().Attrs = nil
	case op.GetFile() != nil && op.GetFile().Actions[0].Input == int64(pb.Empty):
		return thinValue(op, in[0])
	case op.GetFile() != nil:
		return fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(op, in[0], copied(op, in[1])))))
	case op.GetDiff() != nil || op.GetMerge() != nil:
		return fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(op, in))))
	case op.GetExec() != nil:
		return w.run(node, op, in, anew)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(op.String())))
}

func (w *world) run(node string, op *pb.Op, in []string, anew bool) string {
	raw, err := json.Marshal(op)
	if err != nil {
		w.t.Fatal(err)
	}
	key := fmt.Sprint(string(raw), in)
	if v, ok := w.nodes[node][key]; ok && !anew {
		return v
	}
	w.ran++
	if w.done[node+key] {
		w.again[node+": "+op.GetExec().Meta.Args[0]] = true
	}
	if w.making {
		w.done[node+key] = true
	}
	salt := w.ran
	if w.plain {
		salt = 0
	}
	v := fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(key, salt))))
	w.nodes[node][key] = v
	return v
}

// thinValue holds what was selected of a value, and tells it apart from the value itself.
func thinValue(op *pb.Op, of string) string {
	var list []string
	for _, a := range op.GetFile().Actions {
		if c := a.GetCopy(); c != nil {
			list = append(list, c.Src)
		}
	}
	return "thin " + of + " " + strings.Join(list, " ")
}

// copied is what a step's copies get out of a value: the same, whether it is the whole or holds just that; else nothing.
func copied(op *pb.Op, value string) string {
	rest, ok := strings.CutPrefix(value, "thin ")
	if !ok {
		return value
	}
	fields := strings.Fields(rest)
	for _, a := range op.GetFile().Actions {
		if !slices.Contains(fields[1:], a.GetCopy().Src) {
			return "missing " + a.GetCopy().Src
		}
	}
	return fields[0]
}

// FuzzCut divides and cuts random graphs, has the parts made and the targets built, and compares with builds that are not cut.
func FuzzCut(f *testing.F) {
	for seed := range uint64(150) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		q := newRequest(seed)
		var graphs []*crossbuild.Graph
		for i, p := range []platforms.Platform{amd64, arm64, s390x} {
			graphs = append(graphs, mustRead(t, p, q.defs[i]))
		}
		node := func(empty bool) string {
			if empty && q.IntN(3) == 0 {
				return ""
			}
			return []string{"a", "b", "c"}[q.IntN(3)]
		}
		at := crossbuild.Places{Shared: node(true)}
		for range graphs {
			at.Home, at.Private = append(at.Home, node(false)), append(at.Private, node(true))
		}
		d := crossbuild.Divide(graphs, amd64)
		cut, err := crossbuild.NewCut(graphs, d, at)
		if err != nil {
			t.Fatal(err)
		}
		checkParts(t, graphs, d, at, cut)
		for _, plain := range []bool{true, false} {
			build(t, q, at, cut, plain)
		}
		buildWithout(t, q, at, cut)
	})
}

func checkParts(t *testing.T, graphs []*crossbuild.Graph, d *crossbuild.Division, at crossbuild.Places, cut *crossbuild.Cut) {
	t.Helper()
	for i, p := range cut.Parts {
		if len(p.Graphs) == 0 || !slices.IsSorted(p.Graphs) || !slices.IsSorted(p.Needs) || len(p.Needs) > 0 && p.Needs[len(p.Needs)-1] >= i {
			t.Fatalf("part %d needs %v, for %v", i, p.Needs, p.Graphs)
		}
		if len(cut.To(i)) == 0 || slices.Contains(cut.To(i), p.Node) {
			t.Fatalf("part %d of %s goes to %v", i, p.Node, cut.To(i))
		}
	}
	if d.Shared == nil && !slices.ContainsFunc(d.Private, func(g *crossbuild.Graph) bool { return g != nil }) && len(cut.Parts) > 0 {
		t.Fatal("parts of nothing")
	}
	for i, g := range graphs {
		rest := g.Without(d.Shared, d.Private[i])
		for _, part := range []*crossbuild.Graph{d.Shared, d.Private[i]} {
			if part != nil && len(part.Demands()) == 0 {
				t.Fatal("a portion that runs nothing")
			}
		}
		if d.Private[i] != nil && (len(rest.Demands()) == 0 || len(d.Private[i].Foreign(func(p platforms.Platform) bool { return p == amd64 })) > 0) {
			t.Fatalf("graph %d has a private portion that it should not have", i)
		}
	}
}

// build makes all parts, then the targets, and compares.
func build(t *testing.T, q *request, at crossbuild.Places, cut *crossbuild.Cut, plain bool) {
	t.Helper()
	w := newWorld(t, plain)
	w.making = true
	for i, p := range cut.Parts {
		def, err := cut.Part(i, made(cut, p.Node))
		if err != nil {
			t.Fatal(err)
		}
		mustRead(t, amd64, def)
		got, ok := made(cut, "")(i)
		if !ok {
			t.Fatal("not made")
		}
		w.parts[got.Ref] = w.solve(p.Node, def)
	}
	w.making = false
	for i, def := range q.defs {
		home := made(cut, at.Home[i])
		target, err := cut.Target(i, def, home)
		if err != nil {
			t.Fatal(err)
		}
		mustRead(t, amd64, target)
		again, err := cut.Target(i, target, home)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(again.Def) != fmt.Sprint(target.Def) {
			t.Fatal("replacing what is replaced changes it")
		}
		for _, early := range cut.Early(i) {
			mustRead(t, amd64, early)
		}
		got := w.solve(at.Home[i], target)
		if plain {
			if want := newWorld(t, true).solve("x", def); got != want {
				t.Fatalf("target %d differs, with parts %v of places %+v", i, showParts(cut), at)
			}
		}
		if len(w.again) > 0 {
			t.Fatalf("target %d has run again %v, with parts %v of places %+v", i, w.again, showParts(cut), at)
		}
	}
}

// buildWithout loses some of the parts: what they are made of is done where it is needed.
func buildWithout(t *testing.T, q *request, at crossbuild.Places, cut *crossbuild.Cut) {
	t.Helper()
	w := newWorld(t, true)
	lost := make([]bool, len(cut.Parts))
	left := func(node string) crossbuild.Imports {
		all := made(cut, node)
		return func(part int) (crossbuild.Import, bool) {
			i, ok := all(part)
			return i, ok && !lost[part]
		}
	}
	for i, p := range cut.Parts {
		def, err := cut.Part(i, left(p.Node))
		if err != nil {
			t.Fatal(err)
		}
		lost[i] = q.IntN(2) == 0
		got, _ := made(cut, "")(i)
		w.parts[got.Ref] = w.solve(p.Node, def)
	}
	for i, def := range q.defs {
		target, err := cut.Target(i, def, left(at.Home[i]))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := w.solve(at.Home[i], target), newWorld(t, true).solve("x", def); got != want {
			t.Fatalf("target %d differs where parts %v of %v are lost", i, lost, showParts(cut))
		}
	}
}
