// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

func TestProblems(t *testing.T) {
	native := emulation.Support{Platform: platforms.MustParse("linux/amd64"), How: emulation.Native}
	missing := emulation.Support{Platform: platforms.MustParse("linux/s390x"), How: emulation.None, Problem: "no emulator", Mend: "install one"}
	faulty := emulation.Support{Platform: platforms.MustParse("linux/arm64"), How: emulation.Emulated, Problem: "QEMU 6 crashes", Mend: "get a newer one"}
	machine := nodes.Machine{Memory: 8e9, Available: 4e9, Disk: 100e9, Free: 50e9}
	type problems = []nodes.Problem
	for _, test := range []struct {
		rule    string
		survey  []emulation.Support
		machine func(*nodes.Machine)
		want    problems
	}{
		{"what a node does not run is none", []emulation.Support{native, missing}, nil, nil},
		{"what is unknown is none", []emulation.Support{native}, func(m *nodes.Machine) { *m = nodes.Machine{} }, nil},
		{"what runs with a fault", []emulation.Support{native, faulty}, nil, problems{{"linux/arm64 runs there, but QEMU 6 crashes", "get a newer one"}}},
		{"nothing runs natively", []emulation.Support{missing}, nil, problems{{"it runs no platform natively", "read why: mab nodes logs arm1"}}},
		{"little disk", []emulation.Support{native}, func(m *nodes.Machine) { m.Free = 1.5e9 }, problems{{"its disk has only 1.5GB of 100GB free", "make room on it"}}},
		{"little memory", []emulation.Support{native}, func(m *nodes.Machine) { m.Available = 100e6 },
			problems{{"it has only 100MB of 8GB of memory to give", "end what else runs on it"}}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			info := nodes.Info{Survey: test.survey, Machine: machine}
			if test.machine != nil {
				test.machine(&info.Machine)
			}
			if diff := cmp.Diff(test.want, nodes.Node{Entry: arm1, Info: info}.Problems()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}
