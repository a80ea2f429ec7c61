// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
			[]string{"linux/arm64 on pi: native, the node runs linux/arm64 natively: 1 RUN step"}},
		{"native beats cross", []*crossbuild.Graph{graph("arm64")}, farm("pc: amd64", armToo), nil,
			[]string{"linux/arm64 on pi: native, no step runs anything: files are only copied"}},
		{"cross beats emulated", []*crossbuild.Graph{graph("s390x", "amd64")}, farm("pi: arm64 (amd64)", "pc: amd64"), nil,
			[]string{"linux/s390x on pc: cross, no step runs linux/s390x code: 1 runs on linux/amd64, the rest copies"}},
		{"emulated is better than nothing", []*crossbuild.Graph{graph("arm64", "arm64", "amd64")}, farm("pc: amd64 (arm64)"), nil,
			[]string{"linux/arm64 on pc: emulated, 1 of 2 RUN steps runs under QEMU 7.2: no node runs linux/arm64 natively"}},
		{"a reason knows the other nodes", []*crossbuild.Graph{graph("arm64", "arm64")}, farm("pc: amd64 (arm64)", armToo), crossbuild.Strategies{crossbuild.Emulated},
			[]string{"linux/arm64 on pc: emulated, the only RUN step runs under QEMU 7.2: this node does not run linux/arm64 natively"}},
		{"a node that cannot does not stand in the way of one that can", []*crossbuild.Graph{graph("arm64", "arm64")}, farm("pc: amd64", armToo), nil,
			[]string{"linux/arm64 on pi: native, the node runs linux/arm64 natively: 1 RUN step"}},
		{"the order is that of the request", []*crossbuild.Graph{graph("s390x"), graph("amd64"), graph("arm64")}, farm("pc: amd64"), nil, []string{
			"linux/s390x on pc: cross, no step runs linux/s390x code: files are only copied",
			"linux/amd64 on pc: native, no step runs anything: files are only copied",
			"linux/arm64 on pc: cross, no step runs linux/arm64 code: files are only copied",
		}},
		{"equal nodes share the load, the first one begins", []*crossbuild.Graph{graph("s390x"), graph("arm64"), graph("riscv64")}, farm("a: amd64", "b: amd64"), nil, []string{
			"linux/s390x on a: cross, no step runs linux/s390x code: files are only copied",
			"linux/arm64 on b: cross, no step runs linux/arm64 code: files are only copied",
			"linux/riscv64 on a: cross, no step runs linux/riscv64 code: files are only copied",
		}},
		{"speed goes before load", []*crossbuild.Graph{graph("amd64", "amd64"), graph("arm64", "amd64")}, farm("a: amd64", "b: arm64 (amd64)"), nil, []string{
			"linux/amd64 on a: native, the node runs linux/amd64 natively: 1 RUN step",
			"linux/arm64 on a: cross, no step runs linux/arm64 code: 1 runs on linux/amd64, the rest copies",
		}},
		{"what is forbidden is done otherwise", []*crossbuild.Graph{graph("arm64")}, farm(armToo, "pc: amd64"), crossbuild.Strategies{crossbuild.Cross},
			[]string{"linux/arm64 on pc: cross, no step runs linux/arm64 code: files are only copied"}},
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
			`"shared":[]}`: plan,
		`{"platforms":[],"shared":[]}`: mustPlan(t),
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
}

func mustPlan(t *testing.T, graphs ...*crossbuild.Graph) *coordinator.Plan {
	t.Helper()
	plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: graphs, Farm: farm("pc: amd64")})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// FuzzNewPlan holds what every plan promises, whatever the nodes: each platform once, in order, on a node that can build it
// so, and on none that is slower than another; or all platforms that nothing can build.
func FuzzNewPlan(f *testing.F) {
	f.Add([]byte{3}, []byte{0b0001, 0b0110}, uint8(0))
	f.Add([]byte{3, 4, 1, 9, 200}, []byte{0b0001, 0b0001, 0b0110, 0b1000}, uint8(0))
	f.Add([]byte{255, 254, 17, 33}, []byte{0b00010001}, uint8(3))
	f.Fuzz(func(t *testing.T, steps, machines []byte, allow uint8) {
		names := []string{"amd64", "arm64", "arm/v7", "s390x"}
		var graphs []*crossbuild.Graph
		for i, b := range steps[:min(len(steps), len(names))] {
			var runs []string
			for n := range int(b>>4) % 3 {
				runs = append(runs, names[(int(b)+n*3)%len(names)])
			}
			graphs = append(graphs, graph(names[i], runs...))
		}
		var all []nodes.Node
		for i, b := range machines[:min(len(machines), 8)] {
			n := nodes.Node{Entry: nodes.Entry{Name: fmt.Sprint("n", i)}}
			for k, name := range names {
				how := emulation.None
				if b>>k&1 != 0 {
					how = emulation.Native
				} else if b>>(4+k)&1 != 0 {
					how = emulation.Emulated
				}
				n.Info.Survey = append(n.Info.Survey, emulation.Support{Platform: platforms.MustParse(name), How: how})
			}
			all = append(all, n)
		}
		var allowed crossbuild.Strategies
		for _, s := range []crossbuild.Strategy{crossbuild.Native, crossbuild.Cross, crossbuild.Emulated} {
			if allow>>s&1 != 0 {
				allowed = append(allowed, s)
			}
		}
		plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: graphs, Farm: all, Allowed: allowed})
		checkPlan(t, graphs, all, allowed, plan, err)
	})
}

func checkPlan(t *testing.T, graphs []*crossbuild.Graph, all []nodes.Node, allowed crossbuild.Strategies, plan *coordinator.Plan, err error) {
	t.Helper()
	var impossible []platforms.Platform
	best := map[platforms.Platform]crossbuild.Strategy{}
	for _, g := range graphs {
		for _, n := range all {
			d, err := crossbuild.Decide(g, n.Info, nil)
			if err == nil && allowed.Allows(d.Strategy) && (best[g.Target] == 0 || d.Strategy < best[g.Target]) {
				best[g.Target] = d.Strategy
			}
		}
		if best[g.Target] == 0 {
			impossible = append(impossible, g.Target)
		}
	}
	var wrong *coordinator.UnbuildableError
	if errors.As(err, &wrong) {
		var named []platforms.Platform
		for _, p := range wrong.Platforms {
			named = append(named, p.Platform)
		}
		if diff := cmp.Diff(impossible, named); diff != "" {
			t.Fatalf("what cannot be built: want -, got +:\n%s", diff)
		}
		return
	}
	if err != nil || len(impossible) > 0 || len(plan.Assignments) != len(graphs) {
		t.Fatalf("%d assignments for %d graphs, of which %v cannot be built: %v", len(plan.Assignments), len(graphs), impossible, err)
	}
	for i, a := range plan.Assignments {
		at := slices.IndexFunc(all, func(n nodes.Node) bool { return n.Name == a.Node })
		if a.Platform != graphs[i].Target || at < 0 || a.Strategy != best[a.Platform] || a.Why == "" {
			t.Fatalf("assignment %d of %s is %+v, best %s", i, graphs[i].Target, a, best[a.Platform])
		}
		if d, err := crossbuild.Decide(graphs[i], all[at].Info, nil); err != nil || d.Strategy != a.Strategy {
			t.Fatalf("%s does not build %s so: %v, %v", a.Node, a.Platform, d, err)
		}
	}
}
