// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	mab "github.com/mab-build/mab/cmd/mab"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

func TestPrintPlan(t *testing.T) {
	amd64, s390x := platforms.MustParse("linux/amd64"), platforms.MustParse("linux/s390x")
	base, run := &crossbuild.Step{Name: "[1/2] FROM base"}, &crossbuild.Step{Name: "[2/2] RUN make"}
	plan := &coordinator.Plan{
		Assignments: []coordinator.Assignment{
			{Platform: s390x, Node: "local", Strategy: crossbuild.Emulated, Why: "no node runs linux/s390x natively", Steps: []crossbuild.Handling{
				{Step: base, How: crossbuild.RunsNothing}, {Step: run, How: crossbuild.RunsEmulated, Emulator: "QEMU 7.2"},
			}},
			{Platform: amd64, Node: "pi", Strategy: crossbuild.Native, Why: "it does", Steps: []crossbuild.Handling{{Step: run, How: crossbuild.RunsNatively}}, Alternatives: []coordinator.Alternative{
				{Node: "local", Strategy: crossbuild.Emulated, Expected: 95.25, Why: "it would be emulated"},
				{Node: "pi4", Strategy: crossbuild.Native, Why: "1 build running"},
				{Node: "old", Why: "it does not run linux/amd64"},
			}},
		},
		Build: amd64, BuildWhy: "that of pi",
		Portions: []coordinator.Portion{
			{Kind: coordinator.PortionShared, Node: "pi", Strategy: crossbuild.Native, Why: "it does", Platforms: []platforms.Platform{s390x, amd64},
				Steps: []crossbuild.Handling{{Step: run, How: crossbuild.RunsNatively}}, Problems: []string{"old"}, Travels: []coordinator.Travel{
					{Step: run.Name, Paths: []string{"/a", "/b"}, To: []string{"local", "x"}, Bytes: 1500}, {Step: run.Name, To: []string{"local"}},
				}},
			{Kind: coordinator.PortionPrivate, Node: "pi", Strategy: crossbuild.Native, Why: "it does", Platforms: []platforms.Platform{s390x}},
		},
		Shared: []crossbuild.Common{{Step: base, Targets: []platforms.Platform{s390x, amd64}}},
	}
	want := `BUILDPLATFORM is linux/amd64, that of pi

PLATFORM     NODE   STRATEGY  NATIVE  QEMU  NOTHING  WHY
linux/s390x  local  emulated  0       1     1        no node runs linux/s390x natively
linux/amd64  pi     native    1       0     0        it does

shared by linux/s390x, linux/amd64, done once on pi: native, it does
  native       [2/2] RUN make
  problem      old
  travels      /a, /b go to local, x (1.5kB last time)
  travels      all of "[2/2] RUN make" goes to local

part of linux/s390x, done once on pi: native, it does

linux/s390x
  nothing      [1/2] FROM base
  QEMU 7.2     [2/2] RUN make

linux/amd64
  native       [2/2] RUN make
  not on       local, emulated, expected 95.2 s: it would be emulated
  not on       pi4, native: 1 build running
  not on       old: it does not run linux/amd64

shared, done once
  2 platforms  [1/2] FROM base
`
	var got strings.Builder
	mab.PrintPlan(&got, plan)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	got.Reset()
	plan.Shared, plan.Portions, plan.BuildWhy = nil, nil, ""
	mab.PrintPlan(&got, plan)
	if strings.Contains(got.String(), "shared") || strings.Contains(got.String(), "BUILDPLATFORM") {
		t.Errorf("nothing is shared, but:\n%s", &got)
	}
}

func TestPrintIndex(t *testing.T) {
	found := &manifestlist.Inspection{
		Reference: "r.example/a:1", Digest: "sha256:aa", MediaType: "application/vnd.oci.image.index.v1+json",
		Images: []manifestlist.InspectedImage{
			{Platform: platforms.MustParse("linux/arm/v7"), Digest: "sha256:bb", Layers: 2, LayersSize: 1_500_000,
				Attestations: []manifestlist.InspectedAttestation{{Kinds: []string{"provenance"}}, {Kinds: []string{"sbom"}}}},
			{Platform: platforms.MustParse("linux/amd64"), Digest: "sha256:cc", Layers: 1, LayersSize: 999},
		},
	}
	want := `r.example/a:1
sha256:aa  application/vnd.oci.image.index.v1+json

PLATFORM      DIGEST     LAYERS  SIZE   ATTESTATIONS
linux/arm/v7  sha256:bb  2       1.5MB  provenance,sbom
linux/amd64   sha256:cc  1       999B   -
`
	var got strings.Builder
	err := mab.PrintIndex(&got, found)
	if diff := cmp.Diff(want, got.String()); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
}

func TestPrintSurvey(t *testing.T) {
	survey := []emulation.Support{
		{Platform: platforms.MustParse("linux/amd64"), How: emulation.Native, Probe: "ok"},
		{Platform: platforms.MustParse("linux/s390x"), How: emulation.Emulated, Instance: "private", Flags: "PF", Version: "7.2", Probe: "ok", Interpreter: "/bin/qemu<x>"},
		{Platform: platforms.MustParse("linux/riscv64"), How: emulation.None, Probe: "exec format error", Problem: "no emulator <x>", Mend: "install one"},
	}
	want := `PLATFORM       HOW       INSTANCE  FLAGS  QEMU  PROBE              EMULATOR      PROBLEM
linux/amd64    native    -         -      -     ok                 -             
linux/s390x    emulated  private   PF     7.2   ok                 /bin/qemu<x>  
linux/riscv64  none      -         -      -     exec format error  -             no emulator <x>; mend: install one
`
	var got strings.Builder
	err := mab.PrintSurvey(&got, survey, false)
	if diff := cmp.Diff(want, got.String()); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
	got.Reset()
	if err := mab.PrintSurvey(&got, survey[2:], true); err != nil || !strings.Contains(got.String(), "    \"problem\": \"no emulator <x>\",\n") {
		t.Errorf("error %v; got %s", err, &got)
	}
}

func TestWarnings(t *testing.T) {
	for _, test := range []struct {
		rule, message, want string
		inner               logrus.Formatter
	}{
		{"of a build", "slow disk", "mab: warning: slow disk\n", nil},
		{"of the solver", "slow disk", "level=panic msg=\"slow disk\"\n", &logrus.TextFormatter{DisableTimestamp: true, DisableColors: true}},
		{"what nobody can act on", "failed check for fsverity support", "", nil},
		{"nor here", "no trace recorder found", "", &logrus.TextFormatter{}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := mab.Warning(test.inner, test.message)
			if diff := cmp.Diff(test.want, string(got)); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}
