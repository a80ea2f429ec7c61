// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// FuzzRead reads any bytes as a definition.
func FuzzRead(f *testing.F) {
	for _, dockerfile := range []string{plain, crossGo, goApp, threeArchs} {
		raw, err := convert(f, arm64, dockerfile).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var def pb.Definition
		if def.Unmarshal(raw) == nil {
			checkRead(t, &def)
		}
	})
}

// FuzzReadGraph makes linked ops, right and wrong, from any bytes: a change of bytes alone breaks the digests that link them.
func FuzzReadGraph(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 4, 2, 1, 2, 0, 3, 1, 2, 1, 1})
	f.Add([]byte("arbitrary bytes are a graph as well, of many steps that do not go together"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d definition
		for ; len(raw) >= 5; raw = raw[5:] {
			op := shape(raw[0], int64(int8(raw[3]))%4)
			var inputs []int
			for n := int(raw[1]) % 4; n > 0 && len(d.Def) > 0; n-- {
				inputs = append(inputs, int(raw[2])*n%len(d.Def))
			}
			d.add(op, inputs...)
			d.Metadata = map[string]*pb.OpMetadata{d.digest(len(d.Def) - 1): {IgnoreCache: true}}
			if i := raw[4]; i > 250 && len(inputs) > 0 { // a reference that ends nowhere, and one to a result that is not there
				bad := shape(raw[0], 0)
				bad.Inputs = []*pb.Input{{Digest: d.digest(inputs[0]), Index: int64(i) - 252}, {Digest: "sha256:0"}}[i%2 : i%2+1]
				d.add(bad)
			}
		}
		if len(d.Def) > 0 {
			checkRead(t, d.end(len(d.Def)-1))
		}
	})
}

// shape is an op of one of the kinds that refers to its input i.
func shape(kind byte, i int64) *pb.Op {
	list := []platforms.Platform{amd64, arm64, armv7, s390x}
	p := list[int(kind>>4)%len(list)]
	switch kind % 9 {
	case 0:
		return image(p, fmt.Sprint(i))
	case 1:
		op := exec(p, "x")
		op.GetExec().Mounts[0].Input = i
		return op
	case 2:
		op := exec(p, "x")
		op.Platform = nil
		op.GetExec().Mounts[0].Output = i
		return op
	case 3:
		return local("context", fmt.Sprint(i))
	case 4:
		return copyFile(i, -1)
	case 5:
		return &pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: i}}}}}
	case 6:
		return &pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: i}, Upper: &pb.UpperDiffInput{Input: 0}}}}
	case 7:
		return &pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Inputs: map[string]*pb.BuildInput{pb.LLBDefinitionInput: {Input: i}}}}}
	}
	return &pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{i}}}}
}

// checkRead holds what every graph promises.
func checkRead(t *testing.T, def *pb.Definition) {
	t.Helper()
	g, err := crossbuild.Read(arm64, def)
	if err != nil {
		if g != nil || err.Error() == "" {
			t.Fatalf("graph %v with error %q", g, err)
		}
		return
	}
	checkSteps(t, g)
	if _, err := json.Marshal(g); err != nil {
		t.Fatal(err)
	}
	if n := len(crossbuild.Shared([]*crossbuild.Graph{g, g})); n > len(g.Steps) || n == 0 && len(g.Steps) > 0 {
		t.Fatalf("%d of %d steps are shared with the same graph", n, len(g.Steps))
	}
	for _, node := range []machine{fast, bare, pi} {
		checkDecide(t, g, node)
	}
	checkCut(t, def, g)
}

// checkCut cuts a graph that two targets have. Every definition that comes of it can be read.
func checkCut(t *testing.T, def *pb.Definition, g *crossbuild.Graph) {
	t.Helper()
	graphs := []*crossbuild.Graph{g, nil, g}
	cut, err := crossbuild.NewCut(graphs, crossbuild.Divide(graphs, amd64), crossbuild.Places{Home: []string{"a", "b", "b"}, Shared: "c"})
	if err != nil {
		t.Fatal(err)
	}
	var defs []*pb.Definition
	add := func(def *pb.Definition, err error) {
		if err != nil {
			t.Fatal(err)
		}
		defs = append(defs, def)
	}
	for i, p := range cut.Parts {
		add(cut.Part(i, made(cut, p.Node)))
	}
	add(cut.Target(2, def, made(cut, "b")))
	add(crossbuild.ForSession(def, "another"))
	for _, d := range append(defs, cut.Early(0)...) {
		mustRead(t, arm64, d)
	}
}

func checkSteps(t *testing.T, g *crossbuild.Graph) {
	t.Helper()
	seen := map[digest.Digest]bool{}
	for _, s := range g.Steps {
		for _, in := range s.Inputs {
			if !seen[in] {
				t.Fatalf("step %s has input %s, which is not before it", s.Digest, in)
			}
		}
		if seen[s.Digest] {
			t.Fatalf("step %s is there twice", s.Digest)
		}
		seen[s.Digest] = true
		if err := s.Identity.Validate(); err != nil {
			t.Fatal(err)
		}
		if s.Runs() && s.Platform == (platforms.Platform{}) {
			t.Fatalf("step %s runs programs of no platform", s.Digest)
		}
	}
}

// checkDecide holds a decision to what the steps say one by one.
func checkDecide(t *testing.T, g *crossbuild.Graph, node machine) {
	t.Helper()
	foreign, unable := 0, 0
	for _, s := range g.Steps {
		if s.Runs() && !node.Native(s.Platform) {
			foreign++
			if _, ok := node.Emulator(s.Platform); !ok {
				unable++
			}
		}
	}
	d, err := crossbuild.Decide(g, node, nil)
	if (err != nil) != (unable > 0) {
		t.Fatalf("error %v, where nothing runs %d steps", err, unable)
	}
	if err != nil {
		return
	}
	if (d.Strategy == crossbuild.Emulated) != (foreign > 0) || d.Count(crossbuild.RunsEmulated) != foreign {
		t.Fatalf("strategy %s and %d emulated steps, where %d are foreign", d.Strategy, d.Count(crossbuild.RunsEmulated), foreign)
	}
	if foreign == 0 && (d.Strategy == crossbuild.Native) != node.Native(g.Target) {
		t.Fatalf("strategy %s, where the target's being native is %v", d.Strategy, node.Native(g.Target))
	}
	if len(d.Steps) != len(g.Steps) || d.Why == "" {
		t.Fatalf("%d of %d steps are handled, why: %q", len(d.Steps), len(g.Steps), d.Why)
	}
}

// BenchmarkPlan reads and judges a graph of 2,000 steps that depend on the build context, as one target of a plan.
func BenchmarkPlan(b *testing.B) {
	var d definition
	at := d.add(copyFile(0, 1), d.add(image(arm64, "a")), d.add(local("context", "1")))
	for i := range 1996 {
		at = d.add(exec([]platforms.Platform{amd64, arm64}[i%2], fmt.Sprint("step ", i)), at)
	}
	def := d.end(at)
	for b.Loop() {
		g := mustRead(b, arm64, def)
		if _, err := crossbuild.Decide(g, fast, nil); err != nil {
			b.Fatal(err)
		}
		if n := len(crossbuild.Shared([]*crossbuild.Graph{g, g})); n != len(g.Steps) {
			b.Fatal(n)
		}
	}
}
