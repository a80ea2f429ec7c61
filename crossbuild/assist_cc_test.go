// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// aidedC is g with the aids of gcc, and of Go, that a node of linux/amd64 may give.
func aidedC(g *crossbuild.Graph) *crossbuild.Graph {
	use := crossbuild.Assists{Only: []string{"go", "cc"}}
	var aids []crossbuild.Aid
	for _, c := range crossbuild.Candidates([]*crossbuild.Graph{g}, use, func(p platforms.Platform) bool { return !laptop.Native(p) }) {
		if c.Packed() {
			aids = append(aids, c.CAid(amd64, crossbuild.CToolsOf(trixieArm64, arm64)))
		} else {
			aids = append(aids, c.Aid(amd64))
		}
	}
	return g.WithAids(aids)
}

func TestWhatIsAssistedByC(t *testing.T) {
	for _, test := range []struct {
		rule, dockerfile string
		want             []string // what the assisted steps run, and by what
	}{
		{"each step on an image", "FROM gcc\nRUN x\nCOPY . /src\nRUN y", []string{"x cc", "y cc"}},
		{"beside Go", "FROM golang\nRUN x", []string{"x go cc"}},
		{"each stage by its own image", "FROM gcc AS a\nRUN x\nFROM debian\nCOPY --from=a /a /b/\nRUN y", []string{"x cc", "y cc"}},
		{"nothing that is native", "FROM --platform=$BUILDPLATFORM gcc AS a\nRUN x\nFROM gcc\nCOPY --from=a /a /", nil},
		{"headers may be copied", "FROM gcc\nCOPY . /usr/local/include/\nCOPY . /usr/include/x/\nRUN x", []string{"x cc"}},
		{"not where a compiler was copied", "FROM gcc\nCOPY cc1 /usr/libexec/gcc/aarch64-linux-gnu/14/\nRUN x", nil},
		{"not where an assembler may have been", "FROM gcc\nCOPY . /usr/bin/\nRUN x", nil},
		{"not where a root was", "FROM gcc\nCOPY . /\nRUN x", nil},
		{"not where packages may have become others", "FROM gcc\nCOPY status /var/lib/dpkg/\nRUN x", nil},
		{"not with other security, nor after that", "FROM gcc\nRUN w\nRUN --security=insecure x\nRUN y", []string{"w cc"}},
		{"not with a mount over a compiler, nor after that", "FROM gcc\nRUN --mount=type=cache,target=/usr/lib x\nRUN y", nil},
		{"beside other mounts", "FROM gcc\nRUN --mount=type=cache,target=/var/lib/apt/lists x", []string{"x cc"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			g := aidedC(read(t, arm64, test.dockerfile))
			var planned, want, got []string
			for _, s := range g.Steps {
				if a := s.AidOn(laptop); a != nil {
					command := s.Args[len(s.Args)-1]
					planned = append(planned, command+" "+strings.Join(a.Toolchains(), " "))
					want = append(want, command)
				}
			}
			if diff := cmp.Diff(test.want, planned); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			def := targetOf(t, assisted(t, g, laptop), convert(t, arm64, test.dockerfile))
			for command, op := range runsIn(t, def) {
				if _, ok := crossbuild.WithoutAid(op); ok {
					got = append(got, command)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("in the definition other steps are assisted (-plan +definition):\n%s", diff)
			}
		})
	}
	t.Run("a toolchain that is off leaves the other", func(t *testing.T) {
		g := aidedC(read(t, arm64, "FROM golang\nRUN x"))
		step := &g.Steps[len(g.Steps)-1]
		for off, want := range map[string][]string{"cc": {"go"}, "go": {"cc"}} {
			if diff := cmp.Diff(want, step.AidOn(laptop, off).Toolchains()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
}

func TestAssistedByC(t *testing.T) {
	const dockerfile = "FROM golang\nRUN --mount=type=cache,target=/cache x"
	g := aidedC(read(t, arm64, dockerfile))
	plain := runsIn(t, convert(t, arm64, dockerfile))["x"]
	def := targetOf(t, assisted(t, g, laptop), convert(t, arm64, dockerfile))
	op := runsIn(t, def)["x"]
	t.Run("without its aids it is as it was", func(t *testing.T) {
		got, ok := crossbuild.WithoutAid(op)
		if !ok || !got.EqualVT(plain) {
			t.Errorf("%v", got)
		}
	})
	t.Run("each program is in the place of the root's, which is beside", func(t *testing.T) {
		root, helper := op.GetExec().Mounts[0].Input, int64(len(op.Inputs))-1
		const libexec = "/usr/libexec/gcc/aarch64-linux-gnu/14/"
		var want []*pb.Mount
		mount := func(input int64, from, to string) {
			want = append(want, &pb.Mount{Input: input, Selector: from, Dest: to, Output: -1, Readonly: true})
		}
		mount(helper, "", "/dev/mab-cc")
		for _, file := range []string{"/usr/bin/aarch64-linux-gnu-as", libexec + "cc1", libexec + "cc1plus", libexec + "lto1"} {
			name := file[strings.LastIndex(file, "/")+1:]
			mount(root, file, "/dev/mab-cc/plain/"+name)
			mount(helper, "bin/"+name, file)
		}
		got := op.GetExec().Mounts[len(plain.GetExec().Mounts)+1:]
		if len(got) != len(want) {
			t.Fatalf("%v", got)
		}
		for i := range want {
			if !got[i].EqualVT(want[i]) {
				t.Errorf("got %v, want %v", got[i], want[i])
			}
		}
	})
	t.Run("the packages are of the native image, and a failure to get them is the aid's", func(t *testing.T) {
		helper := op.Inputs[len(op.Inputs)-1]
		var of *pb.Op
		ops := map[string]*pb.Op{}
		for _, raw := range def.GetDef() {
			o := new(pb.Op)
			if err := o.UnmarshalVT(raw); err != nil {
				t.Fatal(err)
			}
			ops[digest.FromBytes(raw).String()] = o
		}
		if of = ops[helper.Digest]; of.GetExec() == nil || helper.Index != 1 || of.Platform.Architecture != "amd64" {
			t.Fatalf("%v", of)
		}
		if image := ops[of.Inputs[0].Digest]; !strings.Contains(image.GetSource().GetIdentifier(), "golang") || image.Platform.Architecture != "amd64" {
			t.Errorf("%v", image)
		}
		aid := g.Steps[len(g.Steps)-1].AidOn(laptop)
		if !aid.Makes(digest.Digest(helper.Digest)) || aid.Makes(digest.Digest(of.Inputs[0].Digest)) {
			t.Error("another step is taken for it")
		}
		alone, err := aid.All()[1].Packages()
		if err != nil || digest.FromBytes(alone.Def[1]).String() != helper.Digest {
			t.Errorf("alone it is another step: %v %v", alone, err)
		}
		script := of.GetExec().Meta.Args[2]
		if !strings.Contains(script, "get cpp-14-aarch64-linux-gnu 'gcc-14 (= 14.2.0-19)' cc1 /usr/libexec/gcc-cross/aarch64-linux-gnu/14/cc1 ") {
			t.Errorf("%s", script)
		}
	})
}

func TestProve(t *testing.T) {
	c := crossbuild.Candidates([]*crossbuild.Graph{read(t, arm64, "FROM gcc\nRUN x")}, crossbuild.Assists{Only: []string{"cc"}}, func(platforms.Platform) bool { return true })[0]
	for _, test := range []struct {
		rule, own, packed string
		useful            bool
		why               []string
	}{
		{"a compiler is enough", trixieArm64, trixieAmd64, true, []string{
			"there is no binutils-aarch64-linux-gnu", "there is no g++-14-aarch64-linux-gnu", "there is no gcc-14-aarch64-linux-gnu",
		}},
		{"an assembler is not", bookwormArm64, bookwormAmd64, false, []string{
			"cpp-12 is of gcc-12 12.2.0-14+deb12u1, cpp-12-aarch64-linux-gnu of gcc-12 12.2.0-14", "there is no gcc-12-aarch64-linux-gnu",
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			aid := c.CAid(amd64, crossbuild.CToolsOf(test.own, arm64))
			useful, why := aid.Prove(test.packed)
			if diff := cmp.Diff(test.why, why); diff != "" || useful != test.useful {
				t.Errorf("useful: %v (-want +got):\n%s", useful, diff)
			}
		})
	}
}
