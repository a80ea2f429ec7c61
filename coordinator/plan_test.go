// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// graph builds for target and runs one step on each of the platforms.
func graph(target string, runs ...string) *crossbuild.Graph {
	g := &crossbuild.Graph{Target: platforms.MustParse(target)}
	for i, p := range runs {
		name := fmt.Sprintf("[%d/%d] RUN make", i+1, len(runs))
		id := digest.FromString(name + p)
		g.Steps = append(g.Steps, crossbuild.Step{
			Digest: id, Identity: id, Kind: crossbuild.KindExec, Name: name, Platform: platforms.MustParse(p),
			Locations: []crossbuild.Location{{File: "Dockerfile", Start: i + 2}},
		})
	}
	return g
}

// node reads "NAME: PLATFORM…", where a platform in brackets is emulated, and one after an exclamation mark does not run.
func node(text string) nodes.Node {
	name, rest, _ := strings.Cut(text, ":")
	n := nodes.Node{Entry: nodes.Entry{Name: name}}
	for _, word := range strings.Fields(rest) {
		s := emulation.Support{How: emulation.Native}
		switch word[0] {
		case '(':
			s = emulation.Support{How: emulation.Emulated, Version: "7.2"}
		case '!':
			s = emulation.Support{How: emulation.None, Problem: "no emulator", Mend: "install one for " + word[1:]}
		}
		s.Platform = platforms.MustParse(strings.Trim(word, "()!"))
		n.Info.Survey = append(n.Info.Survey, s)
	}
	return n
}

func farm(texts ...string) []nodes.Node {
	var list []nodes.Node
	for _, text := range texts {
		list = append(list, node(text))
	}
	return list
}

func TestNewPlan(t *testing.T) {
	const armToo = "pi: arm64"
	for _, test := range []struct {
		rule    string
		graphs  []*crossbuild.Graph
		farm    []nodes.Node
		allowed crossbuild.Strategies
		want    []string
	}{
		{"native beats emulated", []*crossbuild.Graph{graph("arm64", "arm64")}, farm("pc: amd64 (arm64)", armToo), nil,
			[]string{"linux/arm64 on pi: native, the node runs linux/arm64 natively: 1 RUN step; it would be emulated on pc, taken to be 12 times as slow"}},
		{"native beats cross", []*crossbuild.Graph{graph("arm64")}, farm("pc: amd64", armToo), nil,
			[]string{"linux/arm64 on pi: native, no step runs anything: files are only copied; its slot is free"}},
		{"cross beats emulated", []*crossbuild.Graph{graph("s390x", "amd64")}, farm("pi: arm64 (amd64)", "pc: amd64"), nil,
			[]string{"linux/s390x on pc: cross, no step runs linux/s390x code: 1 runs on linux/amd64, the rest copies; it would be emulated on pi, taken to be 12 times as slow"}},
		{"emulated is better than nothing", []*crossbuild.Graph{graph("arm64", "arm64", "amd64")}, farm("pc: amd64 (arm64)"), nil,
			[]string{"linux/arm64 on pc: emulated, 1 of 2 RUN steps runs under QEMU 7.2: no node runs linux/arm64 natively"}},
		{"a reason knows the other nodes", []*crossbuild.Graph{graph("arm64", "arm64")}, farm("pc: amd64 (arm64)", armToo), crossbuild.Strategies{crossbuild.Emulated},
			[]string{"linux/arm64 on pc: emulated, the only RUN step runs under QEMU 7.2: this node does not run linux/arm64 natively; no other node can build it by --strategy emulated"}},
		{"a node that cannot does not stand in the way of one that can", []*crossbuild.Graph{graph("arm64", "arm64")}, farm("pc: amd64", armToo), nil,
			[]string{"linux/arm64 on pi: native, the node runs linux/arm64 natively: 1 RUN step; no other node can build it"}},
		{"the order is that of the request", []*crossbuild.Graph{graph("s390x"), graph("amd64"), graph("arm64")}, farm("pc: amd64"), nil, []string{
			"linux/s390x on pc: cross, no step runs linux/s390x code: files are only copied",
			"linux/amd64 on pc: native, no step runs anything: files are only copied",
			"linux/arm64 on pc: cross, no step runs linux/arm64 code: files are only copied",
		}},
		{"equal nodes share the load, the first one begins", []*crossbuild.Graph{graph("s390x"), graph("arm64"), graph("riscv64")}, farm("a: amd64", "b: amd64"), nil, []string{
			"linux/s390x on a: cross, no step runs linux/s390x code: files are only copied; its slot is free",
			"linux/arm64 on b: cross, no step runs linux/arm64 code: files are only copied; its slot is free",
			"linux/riscv64 on a: cross, no step runs linux/riscv64 code: files are only copied; expected to be free first",
		}},
		{"speed goes before load", []*crossbuild.Graph{graph("amd64", "amd64"), graph("arm64", "amd64")}, farm("a: amd64", "b: arm64 (amd64)"), nil, []string{
			"linux/amd64 on a: native, the node runs linux/amd64 natively: 1 RUN step; it would be emulated on b, taken to be 12 times as slow",
			"linux/arm64 on a: cross, no step runs linux/arm64 code: 1 runs on linux/amd64, the rest copies; it would be emulated on b, taken to be 12 times as slow",
		}},
		{"what is forbidden is done otherwise", []*crossbuild.Graph{graph("arm64")}, farm(armToo, "pc: amd64"), crossbuild.Strategies{crossbuild.Cross},
			[]string{"linux/arm64 on pc: cross, no step runs linux/arm64 code: files are only copied; no other node can build it by --strategy cross"}},
		{"nothing to build", nil, nil, nil, []string{}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: test.graphs, Farm: test.farm, Allowed: test.allowed})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, plan.Lines()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestUnbuildable(t *testing.T) {
	both := []*crossbuild.Graph{graph("s390x", "s390x"), graph("amd64", "amd64"), graph("ppc64le", "amd64", "ppc64le")}
	for _, test := range []struct {
		rule    string
		graphs  []*crossbuild.Graph
		farm    []nodes.Node
		allowed crossbuild.Strategies
		text    []string
		hint    []string
	}{
		{"all platforms are named, each with its mend", both, farm("pc: amd64 !s390x !ppc64le"), nil, []string{
			`no node can build linux/s390x: on pc nothing runs linux/s390x, needed by step "[1/1] RUN make" (Dockerfile:2) (no emulator)`,
			`no node can build linux/ppc64le: on pc nothing runs linux/ppc64le, needed by step "[2/2] RUN make" (Dockerfile:3) (no emulator)`,
		}, []string{"install one for s390x", "install one for ppc64le"}},
		{"a step may need several", []*crossbuild.Graph{graph("s390x", "s390x", "ppc64le")}, farm("pc: amd64 !s390x !ppc64le"), nil, []string{
			`no node can build linux/s390x: on pc nothing runs linux/s390x, needed by step "[1/2] RUN make" (Dockerfile:2); ` +
				`nothing runs linux/ppc64le, needed by step "[2/2] RUN make" (Dockerfile:3) (no emulator) (no emulator)`,
		}, []string{"install one for s390x; install one for ppc64le"}},
		{"a mend that is the same is told once", []*crossbuild.Graph{graph("s390x", "amd64"), graph("riscv64", "amd64")}, farm("pi: arm64 !amd64"), nil, []string{
			`no node can build linux/s390x: on pi nothing runs linux/amd64, needed by step "[1/1] RUN make" (Dockerfile:2) (no emulator)`,
			`no node can build linux/riscv64: on pi nothing runs linux/amd64, needed by step "[1/1] RUN make" (Dockerfile:2) (no emulator)`,
		}, []string{"install one for amd64"}},
		{"what was not probed has a mend, too", both[2:], farm("pi: amd64"), nil, []string{
			`no node can build linux/ppc64le: on pi nothing runs linux/ppc64le, needed by step "[2/2] RUN make" (Dockerfile:3)`,
		}, []string{"build it on a machine that runs linux/ppc64le"}},
		{"a strategy may be forbidden", []*crossbuild.Graph{graph("arm64", "arm64")}, farm("pc: amd64 (arm64)"),
			crossbuild.Strategies{crossbuild.Native, crossbuild.Cross}, []string{
				"no node can build linux/arm64: on pc it would be emulated (the only RUN step runs under QEMU 7.2: no node runs linux/arm64 natively), " +
					"which --strategy native,cross forbids",
			}, []string{"allow it with --strategy native,cross,emulated"}},
		{"each reason is told once, with the nodes that it is true of", both[:1], farm("a: amd64 !s390x", "b: amd64", "c: arm64 !s390x", "d: amd64", "e: amd64", "f: amd64"), nil, []string{
			`no node can build linux/s390x: on a, c nothing runs linux/s390x, needed by step "[1/1] RUN make" (Dockerfile:2) (no emulator); ` +
				`on b, d, e and 1 more nothing runs linux/s390x, needed by step "[1/1] RUN make" (Dockerfile:2)`,
		}, []string{"on a: install one for s390x; or build it on a machine that runs linux/s390x"}},
		{"many reasons are shortened", []*crossbuild.Graph{graph("amd64", "s390x", "ppc64le", "riscv64", "arm64")}, farm(
			"a: amd64 s390x ppc64le riscv64", "b: amd64 s390x ppc64le arm64", "c: amd64 s390x riscv64 arm64", "d: amd64 ppc64le riscv64 arm64", "e: s390x"), nil, []string{
			`no node can build linux/amd64: on a nothing runs linux/arm64, needed by step "[4/4] RUN make" (Dockerfile:5); ` +
				`on b nothing runs linux/riscv64, needed by step "[3/4] RUN make" (Dockerfile:4); ` +
				`on c nothing runs linux/ppc64le, needed by step "[2/4] RUN make" (Dockerfile:3); nor can 2 more nodes`,
		}, []string{"build it on a machine that runs linux/arm64; or build it on a machine that runs linux/riscv64"}},
		{"there may be no node", []*crossbuild.Graph{graph("arm64")}, nil, nil, []string{"no node can build linux/arm64: there is no node"}, []string{""}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: test.graphs, Farm: test.farm, Allowed: test.allowed})
			var wrong *coordinator.UnbuildableError
			if plan != nil || !errors.As(err, &wrong) {
				t.Fatalf("got %v, %v", plan, err)
			}
			if diff := cmp.Diff(test.text, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("text: want -, got +:\n%s", diff)
			}
			if diff := cmp.Diff(test.hint, strings.Split(wrong.Hint(), "\n")); diff != "" {
				t.Errorf("hint: want -, got +:\n%s", diff)
			}
		})
	}
}

func TestUnbuildableWithout(t *testing.T) {
	_, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("arm64", "arm64")}, Farm: farm("pi: arm64", "pi2: arm64", "pc: amd64 (arm64)", "vm: amd64 !arm64"),
		Without: []coordinator.Exclusion{
			{Node: "pi", Any: true, Why: "it was lost"}, {Node: "pi2", Any: true, Why: "it was lost"},
			{Node: "pc", Strategy: crossbuild.Emulated, Platform: platforms.MustParse("arm64"), Why: "QEMU crashed"},
		},
	})
	var wrong *coordinator.UnbuildableError
	if !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	want := "no node can build linux/arm64: pi, pi2 are not used: it was lost; pc is not used: QEMU crashed; " +
		`on vm nothing runs linux/arm64, needed by step "[1/1] RUN make" (Dockerfile:2) (no emulator)`
	if diff := cmp.Diff([]string{want, "on vm: install one for arm64"}, []string{err.Error(), wrong.Hint()}); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestLacks holds that what this machine lacks is known where others lack more: emulators are installed here alone.
func TestLacks(t *testing.T) {
	all := farm("pi: arm64", "local: amd64")
	all[1].URL = nodes.Local
	_, err := coordinator.NewPlan(coordinator.Situation{Graphs: []*crossbuild.Graph{graph("s390x", "amd64", "s390x")}, Farm: all})
	var wrong *coordinator.UnbuildableError
	if !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]platforms.Platform{platforms.MustParse("s390x")}, wrong.Platforms[0].Lacks); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestPlanKeepsItsKeys holds the JSON that mab plan --json prints.
func TestPlanKeepsItsKeys(t *testing.T) {
	plan, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("arm64", "amd64", "arm64"), graph("s390x", "amd64")}, Farm: farm("pc: amd64 (arm64)"),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &plan.Assignments[0]
	got := []int{a.Count(crossbuild.RunsNatively), a.Count(crossbuild.RunsEmulated), a.Count(crossbuild.RunsNothing)}
	if diff := cmp.Diff([]int{1, 1, 0}, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	for i := range plan.Assignments {
		plan.Assignments[i].Steps = plan.Assignments[i].Steps[:0]
	}
	for want, plan := range map[string]*coordinator.Plan{
		`{"platforms":[` +
			`{"platform":"linux/arm64","node":"pc","strategy":"emulated","why":"1 of 2 RUN steps runs under QEMU 7.2: no node runs linux/arm64 natively","steps":[]},` +
			`{"platform":"linux/s390x","node":"pc","strategy":"cross","why":"no step runs linux/s390x code: 1 runs on linux/amd64, the rest copies","steps":[]}],` +
			`"portions":[],"shared":[]}`: plan,
		`{"platforms":[],"portions":[],"shared":[]}`: mustPlan(t),
	} {
		raw, err := json.Marshal(plan)
		if diff := cmp.Diff(want, string(raw)); err != nil || diff != "" {
			t.Errorf("error %v; want -, got +:\n%s", err, diff)
		}
	}
	shared := mustPlan(t, graph("arm64", "amd64"), graph("s390x", "amd64")).Shared
	if len(shared) != 1 || len(shared[0].Targets) != 2 {
		t.Errorf("shared is %v", shared)
	}
	apart, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("arm64", "amd64"), graph("s390x", "amd64")}, Farm: pair(nil),
	})
	if err != nil || apart.Assignments[0].Node == apart.Assignments[1].Node || len(apart.Shared) > 0 {
		t.Errorf("on two nodes, error %v: %+v", err, apart)
	}
}

func mustPlan(t *testing.T, graphs ...*crossbuild.Graph) *coordinator.Plan {
	t.Helper()
	plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: graphs, Farm: farm("pc: amd64")})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}
