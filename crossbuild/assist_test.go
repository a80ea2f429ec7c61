// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// laptop runs linux/amd64, and all else under QEMU.
var laptop = machine{native: []platforms.Platform{amd64}, emulators: map[platforms.Platform]string{arm64: "QEMU", armv7: "QEMU", s390x: "QEMU"}}

// aided is g with all aids that a node of linux/amd64 may give.
func aided(g *crossbuild.Graph) *crossbuild.Graph {
	foreign := func(p platforms.Platform) bool { return !laptop.Native(p) }
	var aids []crossbuild.Aid
	for _, c := range crossbuild.Candidates([]*crossbuild.Graph{g}, crossbuild.Assists{}, foreign) {
		aids = append(aids, c.Aid(amd64))
	}
	return g.WithAids(aids)
}

// assisted is a cut of one graph that is done on a node which assists.
func assisted(t testing.TB, g *crossbuild.Graph, node crossbuild.Ability) *crossbuild.Cut {
	t.Helper()
	cut, err := crossbuild.NewCut([]*crossbuild.Graph{g}, nil, crossbuild.Places{
		Home: []string{"here"}, Private: []string{""}, Assist: func(_ string, s *crossbuild.Step) *crossbuild.Aid { return s.AidOn(node) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return cut
}

func none(int) (crossbuild.Import, bool) { return crossbuild.Import{}, false }

func targetOf(t testing.TB, cut *crossbuild.Cut, def *pb.Definition) *pb.Definition {
	t.Helper()
	out, err := cut.Target(0, def, none)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ops are those of a definition that run something, by what they run.
func runsIn(t testing.TB, def *pb.Definition) map[string]*pb.Op {
	t.Helper()
	out := map[string]*pb.Op{}
	for _, raw := range def.GetDef() {
		op := new(pb.Op)
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		if args := op.GetExec().GetMeta().GetArgs(); len(args) > 0 {
			out[args[len(args)-1]] = op
		}
	}
	return out
}

func TestWhatIsAssisted(t *testing.T) {
	for _, test := range []struct {
		rule, dockerfile string
		want             []string // what the assisted steps run
	}{
		{"each step on a Go image", "FROM golang\nWORKDIR /src\nCOPY . .\nRUN go mod download\nCOPY . .\nRUN go build", []string{"go mod download", "go build"}},
		{"a stage made of another", "FROM golang AS a\nRUN x\nFROM a AS b\nRUN y\nFROM scratch\nCOPY --from=b /a /", []string{"x", "y"}},
		{"no step on another image", "FROM golang AS a\nRUN x\nFROM alpine\nCOPY --from=a /a /\nRUN y", []string{"x"}},
		{"nothing that is native", "FROM --platform=$BUILDPLATFORM golang AS a\nRUN x\nFROM alpine\nCOPY --from=a /a /", nil},
		{"Go that was copied whole",
			"FROM debian\nCOPY --from=golang /usr/local/go /usr/local/go\nENV PATH=/usr/local/go/bin:$PATH\nRUN x", []string{"x"}},
		{"Go that was copied whole, with slashes",
			"FROM debian\nCOPY --from=golang /usr/local/go/ /usr/local/go/\nENV PATH=/usr/local/go/bin:$PATH\nRUN x", []string{"x"}},
		{"Go that was copied with --link",
			"FROM debian\nCOPY --link --from=golang /usr/local/go /usr/local/go\nENV PATH=/usr/local/go/bin:$PATH\nCOPY --link . /src\nRUN x", []string{"x"}},
		{"not Go of another platform",
			"FROM --platform=$BUILDPLATFORM golang AS g\nFROM debian\nCOPY --from=g /usr/local/go /usr/local/go\nENV PATH=/usr/local/go/bin:$PATH\nRUN x", nil},
		{"not Go of which a part was copied",
			"FROM debian\nCOPY --from=golang --exclude=*_test.go /usr/local/go /usr/local/go\nENV PATH=/usr/local/go/bin:$PATH\nRUN x", nil},
		{"not Go that is not in PATH", "FROM debian\nCOPY --from=golang /usr/local/go /usr/local/go\nRUN x", nil},
		{"not Go that was changed", "FROM golang\nCOPY patched.go /usr/local/go/src/fmt/print.go\nRUN x", nil},
		{"not Go over which something was copied", "FROM golang\nCOPY . /usr/local\nRUN x", nil},
		{"also beside a cache", "FROM golang\nRUN --mount=type=cache,target=/root/.cache/go-build x", []string{"x"}},
		{"not where a mount of its own is", "FROM golang\nRUN --mount=type=cache,target=/usr/local/go/pkg x\nRUN --mount=type=tmpfs,target=/usr/local/go/pkg/tool/linux_arm64/x y\nRUN z", []string{"z"}},
		{"not with other security", "FROM golang\nRUN --security=insecure x\nRUN y", []string{"y"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			g := aided(read(t, arm64, test.dockerfile))
			var want, got []string
			for _, s := range g.Steps {
				if s.AidOn(laptop) != nil {
					want = append(want, s.Args[len(s.Args)-1])
				}
			}
			if diff := cmp.Diff(test.want, want); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			def := targetOf(t, assisted(t, g, laptop), convert(t, arm64, test.dockerfile))
			for command, op := range runsIn(t, def) {
				if _, ok := crossbuild.WithoutAid(op); ok {
					got = append(got, command)
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("in the definition other steps are assisted (-plan +definition):\n%s", diff)
			}
		})
	}
}

func TestAssistedStep(t *testing.T) {
	def := convert(t, arm64, "FROM golang\nRUN go build")
	g := aided(mustRead(t, arm64, def))
	out := targetOf(t, assisted(t, g, laptop), def)
	op := runsIn(t, out)["go build"]
	if len(op.Inputs) != 2 || len(op.GetExec().Mounts) != 2 {
		t.Fatalf("%v", op)
	}
	want := &pb.Mount{
		Input: 1, Selector: "/usr/local/go/pkg/tool/linux_amd64", Dest: "/usr/local/go/pkg/tool/linux_arm64", Output: -1, Readonly: true,
	}
	if !proto.Equal(want, op.GetExec().Mounts[1]) {
		t.Errorf("the mount is %v", op.GetExec().Mounts[1])
	}
	images := map[string]string{} // platforms of the images, by digest
	for _, s := range mustRead(t, arm64, out).Steps {
		if s.Kind == crossbuild.KindImage {
			images[string(s.Digest)] = s.Platform.String() + " " + s.Source
		}
	}
	source := g.Steps[0].Source
	if diff := cmp.Diff([]string{"linux/arm64 " + source, "linux/amd64 " + source}, []string{images[op.Inputs[0].Digest], images[op.Inputs[1].Digest]}); diff != "" {
		t.Errorf("its inputs (-want +got):\n%s", diff)
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
	if err != nil {
		t.Fatal(err)
	}
	now := digestOf(raw)
	md := out.Metadata[now]
	if !strings.HasSuffix(md.GetDescription()["llb.customname"], "RUN go build (assisted by go)") || !md.GetCaps()["exec.mount.selector"] || out.Source.Locations[now] == nil {
		t.Errorf("what is said of it is lost: %v", md)
	}
	for i, raw := range def.Def[:1] {
		if !bytes.Equal(raw, out.Def[i]) {
			t.Errorf("op %d changed", i)
		}
	}
}

func TestWhereNothingIsAssisted(t *testing.T) {
	def := convert(t, arm64, "FROM golang\nRUN go build")
	g := aided(mustRead(t, arm64, def))
	for _, test := range []struct {
		rule string
		g    *crossbuild.Graph
		node crossbuild.Ability
	}{
		{"a node that is native", g, machine{native: []platforms.Platform{amd64, arm64}}},
		{"a node that does not run the tools", g, machine{native: []platforms.Platform{s390x}, emulators: laptop.emulators}},
		{"a toolchain that is off", g.WithoutAids([]string{"go"}), laptop},
		{"a graph that was not looked at", mustRead(t, arm64, def), laptop},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if out := targetOf(t, assisted(t, test.g, test.node), def); out != def {
				t.Error("the definition is another one")
			}
			if d, err := crossbuild.Decide(test.g, test.node, nil); err == nil && d.Strategy == crossbuild.Assisted {
				t.Errorf("it is planned as %s", d.Strategy)
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	g := read(t, arm64, "FROM golang:1 AS a\nRUN x\nRUN y\nFROM golang:2\nRUN z\nCOPY --from=a /a /")
	var got []string
	for _, c := range crossbuild.Candidates([]*crossbuild.Graph{nil, g, g}, crossbuild.Assists{}, func(platforms.Platform) bool { return true }) {
		ref, _, _ := strings.Cut(c.Image(), "@")
		version, tool := c.Files(amd64)
		got = append(got, ref+" "+c.Platform().String()+" "+version+" "+tool)
		def, err := c.Definition(amd64)
		if err != nil {
			t.Fatal(err)
		}
		if s := mustRead(t, arm64, def).Steps; len(s) != 1 || s[0].Platform != amd64 || s[0].Source != "docker-image://"+c.Image() {
			t.Errorf("the image to look into is %v", s)
		}
	}
	files := " linux/arm64 /usr/local/go/VERSION /usr/local/go/pkg/tool/linux_amd64/compile"
	if diff := cmp.Diff([]string{"docker.io/library/golang:2" + files, "docker.io/library/golang:1" + files}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		rule    string
		use     crossbuild.Assists
		foreign bool
	}{
		{"none if assisting is off", crossbuild.Assists{Off: true}, true},
		{"none of another toolchain", crossbuild.Assists{Only: []string{"rust"}}, true},
		{"none that is native", crossbuild.Assists{}, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			list := crossbuild.Candidates([]*crossbuild.Graph{g}, test.use, func(platforms.Platform) bool { return test.foreign })
			if len(list) > 0 {
				t.Errorf("%v", list)
			}
		})
	}
	t.Run("none whose image may become another one", func(t *testing.T) {
		var d definition
		def := d.end(d.add(withPath(exec(arm64, "x")), d.add(image(arm64, "docker.io/library/golang:1"))))
		if list := crossbuild.Candidates([]*crossbuild.Graph{mustRead(t, arm64, def)}, crossbuild.Assists{}, func(platforms.Platform) bool { return true }); len(list) > 0 {
			t.Errorf("%v", list)
		}
	})
}

func TestAssistedIsDecided(t *testing.T) {
	for _, test := range []struct {
		dockerfile, why string
		strategy        crossbuild.Strategy
	}{
		{"FROM golang\nRUN x", "the only RUN step runs under QEMU with the tools of Go native: this node does not run linux/arm64 natively", crossbuild.Assisted},
		{"FROM golang\nRUN x\nRUN y", "both RUN steps run under QEMU with the tools of Go native: this node does not run linux/arm64 natively", crossbuild.Assisted},
		{"FROM golang AS a\nRUN x\nFROM alpine\nRUN y\nCOPY --from=a /a /",
			"1 of 2 RUN steps runs under QEMU with the tools of Go native, 1 more wholly under it: this node does not run linux/arm64 natively", crossbuild.Assisted},
		{"FROM alpine\nRUN y", "the only RUN step runs under QEMU: this node does not run linux/arm64 natively", crossbuild.Emulated},
	} {
		d, err := crossbuild.Decide(aided(read(t, arm64, test.dockerfile)), laptop, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{test.strategy.String(), test.why}, []string{d.Strategy.String(), d.Why}); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.dockerfile, diff)
		}
	}
}

func TestAssists(t *testing.T) {
	for _, test := range []struct{ set, want string }{
		{"auto", "auto"}, {"off", "off"}, {"go", "go"}, {" GO ", "go"}, {"auto,go", "go"}, {"AUTO", "auto"},
		{"of", "auto"}, {"off,go", "auto"}, {"", "auto"}, {"rustc", "auto"},
	} {
		var a crossbuild.Assists
		err := a.Set(test.set)
		if got := a.String(); got != test.want {
			t.Errorf("%q gives %q", test.set, got)
		}
		if wrong := map[string]bool{"of": true, "off,go": true, "": true, "rustc": true}[test.set]; wrong != (err != nil) {
			t.Errorf("%q: %v", test.set, err)
		}
	}
	for _, tool := range crossbuild.Toolchains() {
		a := crossbuild.Assists{}
		if err := a.Set(tool.Name); err != nil || !a.Has(&tool) {
			t.Errorf("%s cannot be asked for: %v", tool.Name, err)
		}
		if off := (crossbuild.Assists{Off: true}); off.Has(&tool) || (&crossbuild.Assists{}).Has(&tool) != tool.Auto {
			t.Errorf("%s is assisted where it should not be, or is not where it should", tool.Name)
		}
	}
}

func withPath(op *pb.Op) *pb.Op {
	op.GetExec().GetMeta().Env = []string{"PATH=/usr/bin", "PATH=/usr/local/go/bin:/bin"}
	return op
}

// TestAssistedIsReversible: what is added to graphs at random can be taken away again, and then all is as it was.
func TestAssistedIsReversible(t *testing.T) {
	total := 0
	for seed := range uint64(600) {
		def := randomGo(seed)
		g := aided(mustRead(t, arm64, def))
		out := targetOf(t, assisted(t, g, laptop), def)
		mustRead(t, arm64, out)
		was := map[string]string{} // digests before, by those after
		have := map[string]bool{}
		for _, raw := range def.Def {
			have[digestOf(raw)] = true
		}
		seen := map[string]bool{}
		for _, raw := range out.Def {
			if seen[digestOf(raw)] && out != def {
				t.Fatalf("seed %d: an op is there twice", seed)
			}
			seen[digestOf(raw)] = true
			op := new(pb.Op)
			if err := op.UnmarshalVT(raw); err != nil {
				t.Fatal(err)
			}
			plain, ok := crossbuild.WithoutAid(op)
			if ok {
				total++
				if op.GetExec().GetSecurity() != pb.SecurityMode_SANDBOX {
					t.Errorf("seed %d: a step of other security is assisted", seed)
				}
			}
			plain = plain.CloneVT()
			for _, in := range plain.Inputs {
				in.Digest = was[in.Digest]
			}
			before, err := proto.MarshalOptions{Deterministic: true}.Marshal(plain)
			if err != nil {
				t.Fatal(err)
			}
			was[digestOf(raw)] = digestOf(before)
			if image := op.GetSource() != nil; !image && !have[digestOf(before)] {
				t.Fatalf("seed %d: without its aid, a step is none of the graph: %v", seed, plain)
			}
		}
		if last := out.Def[len(out.Def)-1]; was[digestOf(last)] != digestOf(def.Def[len(def.Def)-1]) {
			t.Fatalf("seed %d: the result is another one", seed)
		}
	}
	if total < 60 {
		t.Errorf("only %d steps were assisted", total)
	}
}

func digestOf(raw []byte) string {
	d := definition{Definition: pb.Definition{Def: [][]byte{raw}}}
	return d.digest(0)
}

// randomGo is a graph on Go's image, of steps of all kinds.
func randomGo(seed uint64) *pb.Definition {
	q := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // what is random is to be repeated
	var d definition
	pinned := "docker.io/library/golang:1@sha256:" + strings.Repeat("a", 64)
	at := []int{d.add(image(arm64, pinned)), d.add(image(amd64, pinned)), d.add(local("context", "1"))}
	for i := range 12 {
		x, y := at[q.IntN(len(at))], at[q.IntN(len(at))]
		switch q.IntN(4) {
		case 0, 1:
			op := withPath(exec([]platforms.Platform{arm64, arm64, amd64}[q.IntN(3)], fmt.Sprint(i)))
			op.GetExec().Security = pb.SecurityMode(q.IntN(4) / 3)
			op.GetExec().Mounts = append(op.GetExec().Mounts, &pb.Mount{
				Dest: []string{"/src", "/usr/local", "/usr/local/go/pkg/tool/linux_arm64"}[q.IntN(3)], Input: 1, Output: -1,
			})
			at = append(at, d.add(op, x, y))
		case 2:
			op := copyFile(0, 1)
			op.GetFile().Actions[0].GetCopy().Dest = []string{"/b", "/usr/local/go", "/"}[q.IntN(3)]
			at = append(at, d.add(op, x, y))
		default:
			at = append(at, d.add(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 0}, {Input: 1}}}}}, x, y))
		}
	}
	d.Metadata = map[string]*pb.OpMetadata{}
	return d.end(at[len(at)-1])
}

func TestChanges(t *testing.T) {
	g := aided(read(t, arm64, "FROM golang\nRUN a\nRUN b"))
	step := g.Steps[slices.IndexFunc(g.Steps, func(s crossbuild.Step) bool { return len(s.Args) > 0 && s.Args[len(s.Args)-1] == "b" })]
	for _, test := range []struct {
		rule string
		node crossbuild.Ability
		want []string
	}{
		{"assisted", laptop, []string{"a true", "b true"}},
		{"plain", machine{}, []string{"a false", "b false"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			def, err := assisted(t, g, test.node).Changes(0, step.Digest)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for command, op := range runsIn(t, def) {
				_, ok := crossbuild.WithoutAid(op)
				got = append(got, fmt.Sprint(command, " ", ok))
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			steps := mustRead(t, arm64, def).Steps
			if last := steps[len(steps)-1]; last.Kind != crossbuild.KindDiff || len(last.Inputs) != 2 || last.Inputs[0] == last.Inputs[1] {
				t.Errorf("the result is %v", last)
			}
		})
	}
	if _, err := assisted(t, g, laptop).Changes(0, g.Steps[0].Digest); err == nil {
		t.Error("an image changes something")
	}
}
