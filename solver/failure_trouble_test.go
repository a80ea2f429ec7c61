// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// TestKnownTroubleIsTold has a step for arm/v7 fail after it wrote what programs write that cannot list a directory under QEMU.
func TestKnownTroubleIsTold(t *testing.T) {
	op := pb.Op{Platform: &pb.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, Op: &pb.Op_Exec{Exec: &pb.ExecOp{}}}
	raw, err := op.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	step := digest.FromBytes(raw)
	const words = "could not read directory '/root/.cargo': Value too large for defined data type; class=Os (2)\n"
	for _, test := range []struct {
		rule  string
		how   emulation.How
		wrote []string
		told  bool
	}{
		{"under QEMU it is QEMU's", emulation.Emulated, []string{words}, true},
		{"in two parts, too", emulation.Emulated, []string{words[:60], words[60:]}, true},
		{"on a CPU it is not", emulation.Native, []string{words}, false},
		{"other words say nothing", emulation.Emulated, []string{"cannot find -lssl\n"}, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			seen := solver.Witnessed{
				Survey:  []emulation.Support{{Platform: platforms.MustParse("arm/v7"), How: test.how, Version: "7.2.22"}},
				Targets: []solver.Target{{Definition: &pb.Definition{Def: [][]byte{raw}}}},
			}
			for _, part := range test.wrote {
				seen.Status = append(seen.Status, &client.SolveStatus{Logs: []*client.VertexLog{{Vertex: step, Data: []byte(part)}}})
			}
			hint := seen.Failure(ran(step, 1)).Hint()
			if told := strings.Contains(hint, "QEMU is known for this: ") && strings.Contains(hint, "tmpfs"); told != test.told {
				t.Errorf("told %v: %q", told, hint)
			}
		})
	}
	t.Run("words are no longer than what is kept of the last part", func(t *testing.T) {
		for _, row := range emulation.Troubles() {
			if len(row.Says) > solver.WordLength {
				t.Errorf("%q", row.Says)
			}
		}
	})
}
