// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/solver"
)

// TestOrigins has the steps of a rewritten graph be found in the one that it was made from.
func TestOrigins(t *testing.T) {
	marshal := func(s llb.State) *pb.Definition {
		t.Helper()
		def, err := s.Marshal(t.Context(), llb.LinuxAmd64)
		if err != nil {
			t.Fatal(err)
		}
		return def.ToPB()
	}
	run := func(s llb.State, command string) llb.State { return s.Run(llb.Shlex(command)).Root() }
	copied := func(to, from llb.State) llb.State { return to.File(llb.Copy(from, "/a", "/a")) }
	local := func(session string) llb.State {
		return llb.Local("context", llb.SessionID(session), llb.LocalUniqueID(session))
	}
	part := llb.OCILayout("mab.local/part@"+digest.FromString("part").String(), llb.OCIStore("", "mab"))
	base := llb.Image("docker.io/library/base:1")
	for _, test := range []struct {
		rule         string
		graph, given llb.State
		// Of the last step, and of all.
		found bool
	}{
		{"the same", run(base, "a"), run(base, "a"), true},
		{"another session", run(copied(base, local("1")), "a"), run(copied(base, local("2")), "a"), true},
		{"behind what was put in place of a step", copied(base, run(base, "a")), copied(base, part), true},
		{"on what was put in place of a step", run(run(base, "a"), "b"), run(part, "b"), true},
		{"another step", run(base, "a"), run(base, "b"), false},
		{"the same on another", run(run(base, "x"), "a"), run(run(base, "y"), "a"), true},
		{"the same on another that is known", run(run(base, "x"), "a"), run(base, "a"), false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			graph, given := marshal(test.graph), marshal(test.given)
			want, own := head(t, graph), head(t, given)
			got := solver.Origin(given, graph, own)
			if found := got == want; found != test.found {
				t.Errorf("want %s, got %s", want, got)
			}
			if !test.found && got != own {
				t.Errorf("a step of nothing became %s", got)
			}
		})
	}
	t.Run("equal steps are each themselves", func(t *testing.T) {
		twice := marshal(run(run(base, "a"), "a"))
		for _, raw := range twice.Def[:len(twice.Def)-1] {
			if step := digest.FromBytes(raw); solver.Origin(twice, twice, step) != step {
				t.Errorf("%s became %s", step, solver.Origin(twice, twice, step))
			}
		}
	})
}

// head is the step whose result a definition is.
func head(t *testing.T, def *pb.Definition) digest.Digest {
	t.Helper()
	var op pb.Op
	if err := op.UnmarshalVT(def.Def[len(def.Def)-1]); err != nil {
		t.Fatal(err)
	}
	return digest.Digest(op.Inputs[0].Digest)
}
