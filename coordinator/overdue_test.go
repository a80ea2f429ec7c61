// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
)

func TestStepLimit(t *testing.T) {
	arm := graph("arm64", "arm64", "amd64")
	plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: []*crossbuild.Graph{arm}, Farm: farm("pc: amd64 (arm64)", "old: s390x")})
	if err != nil {
		t.Fatal(err)
	}
	shared := &crossbuild.Step{Digest: digest.FromString("shared")}
	plan.Portions = []coordinator.Portion{{Node: "old", Steps: []crossbuild.Handling{{Step: shared, How: crossbuild.RunsEmulated}}}}
	emulated, native := arm.Steps[0].Digest, arm.Steps[1].Digest
	for _, test := range []struct {
		rule, node string
		plan       *coordinator.Plan
		step       digest.Digest
		want       time.Duration
	}{
		{"an emulated step", "pc", plan, emulated, time.Minute},
		{"a native one has none", "pc", plan, native, 0},
		{"nor has one of another node", "old", plan, emulated, 0},
		{"an emulated step that is done for others", "old", plan, shared.Digest, time.Minute},
		{"a step of nobody's", "pc", plan, digest.FromString("x"), 0},
		{"before there is a plan", "pc", nil, emulated, 0},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := coordinator.LimitOf(test.plan, time.Minute, test.node)(test.step); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if coordinator.LimitOf(plan, 0, "pc") != nil {
		t.Error("without a time steps are limited")
	}
}
