// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// programs are steps that run after each other, "PLATFORM NAME" each.
func programs(list ...string) []crossbuild.Step {
	var out []crossbuild.Step
	for i, text := range list {
		platform, name, _ := strings.Cut(text, " ")
		s := crossbuild.Step{Kind: crossbuild.KindExec, Name: "RUN " + name, Platform: platforms.MustParse(platform), Identity: digest.FromString(text)}
		s.Digest = s.Identity
		if i > 0 {
			s.Inputs = []digest.Digest{out[i-1].Digest}
		}
		out = append(out, s)
	}
	return out
}

// parted is a graph of the build platform amd64, and what of it may be done apart.
type parted struct {
	target string
	// shared are steps of the shared part, private and home run after them.
	shared        []crossbuild.Step
	private, home []string
}

// graph puts the steps together: home needs private, which needs shared, and the result copies from the last of them.
func (p parted) graph() (whole, private *crossbuild.Graph) {
	whole = &crossbuild.Graph{Target: platforms.MustParse(p.target), Steps: slices.Clone(p.shared)}
	then := func(list []string) []crossbuild.Step {
		var own []crossbuild.Step
		for _, text := range list {
			own = append(own, programs(text+" for "+p.target)...)
			if s := whole.Steps; len(s) > 0 {
				own[len(own)-1].Inputs = []digest.Digest{s[len(s)-1].Digest}
			}
			whole.Steps = append(whole.Steps, own[len(own)-1])
		}
		return own
	}
	if own := then(p.private); len(own) > 0 {
		private = &crossbuild.Graph{Target: platforms.MustParse("amd64"), Steps: own}
	}
	then(p.home)
	last := crossbuild.Step{Kind: crossbuild.KindFile, Name: "COPY --from", Platform: whole.Target, Identity: digest.FromString("copy for " + p.target)}
	last.Digest = last.Identity
	if s := whole.Steps; len(s) > 0 {
		last.Inputs = []digest.Digest{s[len(s)-1].Digest}
	}
	whole.Steps = append(whole.Steps, last)
	return whole, private
}

// divided is a situation of such graphs on a farm.
func divided(farm []nodes.Node, list ...parted) coordinator.Situation {
	s := coordinator.Situation{Farm: farm, Build: platforms.MustParse("amd64"), Division: &crossbuild.Division{}}
	seen := map[digest.Digest]bool{}
	for _, p := range list {
		whole, private := p.graph()
		s.Graphs, s.Division.Private = append(s.Graphs, whole), append(s.Division.Private, private)
		for _, step := range p.shared {
			if s.Division.Shared == nil {
				s.Division.Shared = &crossbuild.Graph{Target: s.Build}
			}
			if !seen[step.Identity] {
				seen[step.Identity] = true
				s.Division.Shared.Steps = append(s.Division.Shared.Steps, step)
			}
		}
	}
	return s
}

// told is a plan in lines: KIND for PLATFORMS on NODE, and PLATFORM on NODE: STRATEGY, STEPS at home.
func told(p *coordinator.Plan) []string {
	short := func(list ...platforms.Platform) string {
		var names []string
		for _, p := range list {
			names = append(names, strings.TrimPrefix(p.String(), "linux/"))
		}
		return strings.Join(names, ",")
	}
	out := []string{}
	for _, o := range p.Portions {
		out = append(out, fmt.Sprintf("%s for %s on %s: %s, %d steps", o.Kind, short(o.Platforms...), o.Node, o.Strategy, len(o.Steps)))
	}
	for _, a := range p.Assignments {
		out = append(out, fmt.Sprintf("%s on %s: %s, %d steps", short(a.Platform), a.Node, a.Strategy, len(a.Steps)-a.Count(crossbuild.RunsNothing)))
	}
	return out
}

func without(s coordinator.Situation, list ...coordinator.Exclusion) coordinator.Situation {
	s.Without = list
	return s
}

func TestPortions(t *testing.T) {
	web := programs("amd64 npm install", "amd64 npm build")
	amd64, arm64 := platforms.MustParse("amd64"), platforms.MustParse("arm64")
	// Both have the web assets, and install something of their own.
	both := []parted{{"amd64", web, nil, []string{"amd64 apk add"}}, {"arm64", web, nil, []string{"arm64 apk add"}}}
	// Go's compiler runs on the build platform, and what is installed then on the target.
	compiled := parted{"arm64", nil, []string{"amd64 go build"}, []string{"arm64 apk add"}}
	lost := coordinator.Exclusion{Node: "pc", Any: true, Why: "it was lost"}
	standing := coordinator.Portion{Kind: coordinator.PortionShared, Node: "pc", Strategy: crossbuild.Native, Platforms: []platforms.Platform{amd64, arm64}}
	stands := func(s coordinator.Situation, list ...coordinator.Portion) coordinator.Situation {
		s.Standing = list
		return s
	}
	allow := func(s coordinator.Situation, list ...crossbuild.Strategy) coordinator.Situation {
		s.Allowed = list
		return s
	}
	two, three := func() []nodes.Node { return mixed(nil) }, func() []nodes.Node {
		return append(mixed(nil), farm("pc2: amd64 (arm64)")...)
	}
	for _, test := range []struct {
		rule string
		s    coordinator.Situation
		want []string
	}{
		{"what is shared is done where it is native, each home where it is native", divided(two(), both...), []string{
			"shared for amd64,arm64 on pc: native, 2 steps", "amd64 on pc: native, 1 steps", "arm64 on pi: native, 1 steps",
		}},
		{"on one node nothing is apart", divided(two()[:1], both...), []string{
			"amd64 on pc: native, 3 steps", "arm64 on pc: emulated, 3 steps",
		}},
		{"nor if all homes are on the node of what is shared", divided(append(two()[:1], farm("slow: s390x (amd64)")...), both[0], parted{"riscv64", web, nil, nil}), []string{
			"amd64 on pc: native, 3 steps", "riscv64 on pc: cross, 2 steps",
		}},
		{"nor without a node of the build platform", divided(two()[1:], both...), []string{
			"amd64 on pi: emulated, 3 steps", "arm64 on pi: emulated, 3 steps",
		}},
		{"nor if that was lost", without(divided(two(), both...), lost), []string{
			"amd64 on pi: emulated, 3 steps", "arm64 on pi: emulated, 3 steps",
		}},
		{"another node does it then", without(divided(three(), both...), lost), []string{
			"shared for amd64,arm64 on pc2: native, 2 steps", "amd64 on pc2: native, 1 steps", "arm64 on pi: native, 1 steps",
		}},
		{"a home that does not run the build platform has that done elsewhere", divided(two(), compiled), []string{
			"private for arm64 on pc: native, 1 steps", "arm64 on pi: native, 1 steps",
		}},
		{"also where it could not do it at all", divided(farm("pc: amd64", "pi: arm64"), compiled), []string{
			"private for arm64 on pc: native, 1 steps", "arm64 on pi: native, 1 steps",
		}},
		{"a home that runs it does it itself", divided(farm("pc: amd64", "pi: arm64 amd64"), compiled), []string{
			"arm64 on pi: native, 2 steps",
		}},
		{"unless it is clearly slower", func() coordinator.Situation {
			s := divided(farm("pc: amd64", "pi: arm64 amd64"), parted{"arm64", nil, []string{"amd64 a", "amd64 b", "amd64 c"}, []string{"arm64 d"}})
			score(&s.Farm[0], "amd64", 1000)
			score(&s.Farm[1], "amd64", 100)
			score(&s.Farm[1], "arm64", 1000)
			return s
		}(), []string{"private for arm64 on pc: native, 3 steps", "arm64 on pi: native, 1 steps"}},
		{"what is private may need what is shared", divided(two(), both[0], parted{"arm64", web, []string{"amd64 go build"}, []string{"arm64 apk add"}}), []string{
			"shared for amd64,arm64 on pc: native, 2 steps", "private for arm64 on pc: native, 1 steps",
			"amd64 on pc: native, 1 steps", "arm64 on pi: native, 1 steps",
		}},
		{"what a portion needs to be allowed is that its programs may run so", allow(divided(two(), both...), crossbuild.Native), []string{
			"shared for amd64,arm64 on pc: native, 2 steps", "amd64 on pc: native, 1 steps", "arm64 on pi: native, 1 steps",
		}},
		{"where only emulation is allowed, a portion is emulated", allow(divided(two(), both[1], parted{"s390x", web, nil, []string{"arm64 make"}}), crossbuild.Emulated), []string{
			"shared for arm64,s390x on pi: emulated, 2 steps", "arm64 on pc: emulated, 1 steps", "s390x on pc: emulated, 1 steps",
		}},
		{"a portion stays where it is", stands(divided(three(), both...), func() coordinator.Portion { p := standing; p.Node = "pc2"; return p }()), []string{
			"shared for amd64,arm64 on pc2: native, 0 steps", "amd64 on pc2: native, 1 steps", "arm64 on pi: native, 1 steps",
		}},
		{"also if one platform alone is planned anew", stands(divided(three(), both[1]), standing), []string{
			"shared for amd64,arm64 on pc: native, 0 steps", "arm64 on pi: native, 1 steps",
		}},
		{"but not if its node was lost: then it is still for all", without(stands(divided(three(), both[1]), standing), lost), []string{
			"shared for amd64,arm64 on pc2: native, 2 steps", "arm64 on pi: native, 1 steps",
		}},
		{"what others need stays as well", stands(divided(two(), compiled), coordinator.Portion{
			Kind: coordinator.PortionPrivate, Node: "pc", Strategy: crossbuild.Native, Platforms: []platforms.Platform{platforms.MustParse("s390x")},
		}), []string{
			"private for arm64 on pc: native, 1 steps", "private for s390x on pc: native, 0 steps", "arm64 on pi: native, 1 steps",
		}},
		{"a node that failed for one of its platforms does not do it", without(divided(three(), both...), coordinator.Exclusion{Node: "pc", Any: true, Platform: arm64, Why: "x"}), []string{
			"shared for amd64,arm64 on pc2: native, 2 steps", "amd64 on pc2: native, 1 steps", "arm64 on pi: native, 1 steps",
		}},
		{"a graph that shares nothing waits for nothing", divided(two(), append(slices.Clone(both), parted{"s390x", nil, nil, nil})...), []string{
			"shared for amd64,arm64 on pc: native, 2 steps", "amd64 on pc: native, 1 steps", "arm64 on pi: native, 1 steps", "s390x on pi: cross, 0 steps",
		}},
		{"where only files are left, they are put together where what is shared is", divided(pair(nil), parted{"amd64", web, nil, nil}, parted{"arm64", web, nil, nil}), []string{
			"amd64 on a: native, 2 steps", "arm64 on a: cross, 2 steps",
		}},
		{"but what takes long after it is spread", divided(pair(nil), parted{"amd64", web, nil, []string{"amd64 a", "amd64 b"}}, parted{"arm64", web, nil, []string{"amd64 a", "amd64 b"}}), []string{
			"shared for amd64,arm64 on a: native, 2 steps", "amd64 on a: native, 2 steps", "arm64 on b: cross, 2 steps",
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			plan, err := coordinator.NewPlan(test.s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, told(plan)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// TestPortionsTell holds what is said of a plan with portions.
func TestPortionsTell(t *testing.T) {
	web := programs("amd64 npm install", "amd64 npm build")
	s := divided(owning("pc: amd64 (arm64)", "pi: arm64 (amd64)"),
		parted{"amd64", web, nil, []string{"amd64 apk add"}}, parted{"arm64", web, []string{"amd64 go build"}, []string{"arm64 apk add"}})
	plan, err := coordinator.NewPlan(s)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"BUILDPLATFORM is linux/amd64, that of pc",
		"shared by linux/amd64, linux/arm64 on pc: native, 2 RUN steps run once",
		`part of linux/arm64 on pc: native, 1 RUN step; all of "RUN go build for arm64" goes to pi`,
		"linux/amd64 on pc: native, the node runs linux/amd64 natively: 1 RUN step; 2 RUN steps of linux/amd64 are done here once for all; " +
			"it would be emulated on pi, taken to be 12 times as slow",
		"linux/arm64 on pi: native, the node runs linux/arm64 natively: 1 RUN step; 3 RUN steps of linux/amd64 are done on pc; " +
			"it would be emulated on pc, taken to be 12 times as slow",
	}
	if diff := cmp.Diff(want, plan.Lines()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	wantPlaces := crossbuild.Places{Home: []string{"pc", "pi"}, Shared: "pc", Private: []string{"", "pc"}}
	if diff := cmp.Diff(wantPlaces, plan.Places(s.Graphs)); diff != "" {
		t.Errorf("places: want -, got +:\n%s", diff)
	}
	plan.Portions[0].Travels = []coordinator.Travel{
		{Step: "RUN x", Paths: []string{"/app", "/lib"}, To: []string{"pi", "pi2"}, Bytes: 2100}, {Step: "RUN y", To: []string{"pi"}},
	}
	line := `shared by linux/amd64, linux/arm64 on pc: native, 2 RUN steps run once; /app, /lib go to pi, pi2 (2.1kB last time); all of "RUN y" goes to pi`
	if diff := cmp.Diff(line, plan.Lines()[1]); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestUnbuildableApart holds that what could be built if it were not for another platform is not blamed.
func TestUnbuildableApart(t *testing.T) {
	s := divided(farm("pc: amd64", "pi: arm64"), parted{"arm64", nil, []string{"amd64 go build"}, []string{"arm64 apk add"}}, parted{"s390x", nil, nil, []string{"s390x make"}})
	_, err := coordinator.NewPlan(s)
	var wrong *coordinator.UnbuildableError
	if !errors.As(err, &wrong) || len(wrong.Platforms) != 1 || wrong.Platforms[0].Platform != platforms.MustParse("s390x") {
		t.Errorf("got %v", err)
	}
}
