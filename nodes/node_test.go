// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

var _ crossbuild.Ability = nodes.Info{}

func TestInfo(t *testing.T) {
	survey := func(s emulation.Support, platform string) emulation.Support {
		s.Platform = platforms.MustParse(platform)
		return s
	}
	native := emulation.Support{How: emulation.Native}
	qemu := emulation.Support{How: emulation.Emulated, Version: "7.2.0"}
	info := nodes.Info{Survey: []emulation.Support{
		survey(native, "linux/arm64"),
		survey(native, "linux/arm/v7"),
		survey(qemu, "linux/amd64"),
		survey(emulation.Support{How: emulation.Emulated}, "linux/riscv64"),
		survey(emulation.Support{How: emulation.None, Problem: "no emulator", Mend: "install one"}, "linux/s390x"),
		survey(emulation.Support{How: emulation.None, Problem: "it crashes"}, "linux/ppc64le"),
	}}
	type answer struct {
		Native                  bool
		Emulator                string
		Emulated                bool
		MissingProblem, Mending string
	}
	for _, test := range []struct {
		rule, platform string
		info           nodes.Info
		want           answer
	}{
		{"its own platform is native", "linux/arm64", info, answer{Native: true}},
		{"a variant covers the lower ones", "linux/arm/v6", info, answer{Native: true}},
		{"a variant does not cover the higher ones", "linux/arm/v8", info, answer{}},
		{"what is emulated has a name", "linux/amd64", info, answer{Emulator: "QEMU 7.2.0", Emulated: true}},
		{"what is emulated does not cover the higher variants", "linux/amd64/v3", info, answer{}},
		{"an emulator without a version has a name, too", "linux/riscv64", info, answer{Emulator: "QEMU", Emulated: true}},
		{"what does not run has a reason and a mend", "linux/s390x", info, answer{MissingProblem: "no emulator", Mending: "install one"}},
		{"a mend may be missing", "linux/ppc64le", info, answer{MissingProblem: "it crashes"}},
		{"what was not probed is not inferred", "linux/386", info, answer{}},
		{"the zero value can nothing", "linux/amd64", nodes.Info{}, answer{}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			p := platforms.MustParse(test.platform)
			var got answer
			got.Native = test.info.Native(p)
			got.Emulator, got.Emulated = test.info.Emulator(p)
			got.MissingProblem, got.Mending = test.info.Missing(p)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestNodeKeepsItsKeys(t *testing.T) {
	raw, err := json.Marshal(nodes.Node{Entry: nodes.Entry{Name: nodes.Local, URL: nodes.Local}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"name":"local","url":"local","info":{"survey":null,"running":0}}`, string(raw)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}
