// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// TestPromisedEmulators: with the emulators that a plan lacks, it can be made.
func TestPromisedEmulators(t *testing.T) {
	list := []*crossbuild.Graph{graph("arm64", "arm64"), graph("arm/v6", "arm/v6"), graph("amd64", "amd64"), graph("arm/v7", "arm/v7")}
	nodes := farm("pc: amd64 !arm64 !arm/v7 !arm/v6 !s390x")
	_, err := coordinator.NewPlan(coordinator.Situation{Graphs: list, Farm: nodes})
	var unbuildable *coordinator.UnbuildableError
	if !errors.As(err, &unbuildable) {
		t.Fatal(err)
	}
	missing := coordinator.Emulators(unbuildable)
	var names []string
	for _, h := range missing {
		names = append(names, h.QEMU)
	}
	if diff := cmp.Diff([]string{"aarch64", "arm"}, names); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	before := nodes[0].Info.Survey[1]
	nodes[0].Info = coordinator.Promised(nodes[0].Info, missing)
	if before.How != emulation.None {
		t.Error("the node's own survey was changed")
	}
	plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: list, Farm: nodes})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range plan.Assignments {
		got = append(got, a.Platform.String()+" "+a.Strategy.String())
	}
	want := []string{"linux/arm64 emulated", "linux/arm/v6 emulated", "linux/amd64 native", "linux/arm/v7 emulated"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if _, ok := nodes[0].Info.Emulator(platforms.MustParse("s390x")); ok {
		t.Error("one was promised that nobody asked for")
	}
}

func TestNoEmulatorIsNamedForOtherSystems(t *testing.T) {
	_, err := coordinator.NewPlan(coordinator.Situation{Graphs: []*crossbuild.Graph{graph("windows/amd64", "windows/amd64")}, Farm: farm("pc: amd64")})
	var unbuildable *coordinator.UnbuildableError
	if !errors.As(err, &unbuildable) || len(coordinator.Emulators(unbuildable)) != 0 {
		t.Errorf("%v: %+v", err, coordinator.Emulators(unbuildable))
	}
}

func TestPlanTellsProblemsOfEmulators(t *testing.T) {
	nodes := farm("pc: amd64 (arm64) (s390x)")
	for i := range nodes[0].Info.Survey {
		nodes[0].Info.Survey[i].Problem, nodes[0].Info.Survey[i].Mend = "QEMU is old", "get a new one"
	}
	plan, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("arm64", "arm64", "arm64"), graph("amd64", "amd64"), graph("s390x")}, Farm: nodes,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		plan.Assignments[0].Platform.String() + " on pc: emulated, " + plan.Assignments[0].Why,
		"linux/arm64: QEMU is old; mend: get a new one",
		"linux/amd64 on pc: native, " + plan.Assignments[1].Why,
		"linux/s390x on pc: cross, " + plan.Assignments[2].Why,
	}
	if diff := cmp.Diff(want, plan.Lines()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}
