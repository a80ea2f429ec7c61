// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

func TestTravelKey(t *testing.T) {
	const step = "[build 2/3] RUN make TOKEN=secret"
	app, all := coordinator.TravelKey(step, []string{"/app"}), coordinator.TravelKey(step, nil)
	if app == all || app == coordinator.TravelKey("RUN other", []string{"/app"}) || coordinator.TravelKey(step, []string{"/a", "/b"}) == coordinator.TravelKey(step, []string{"/a/b"}) {
		t.Error("different things have one key")
	}
	if strings.Contains(app, "secret") {
		t.Errorf("the step can be read from %q", app)
	}
}

// apart is a plan with something shared on pc and something private, for linux/arm64 on pi.
func apart(t *testing.T) (*coordinator.Plan, coordinator.Situation) {
	t.Helper()
	web := programs("amd64 npm install", "amd64 npm build")
	s := divided(mixed(nil), parted{"amd64", web, nil, []string{"amd64 apk add"}}, parted{"arm64", web, []string{"amd64 go build"}, []string{"arm64 apk add"}})
	plan, err := coordinator.NewPlan(s)
	if err != nil || len(plan.Portions) != 2 {
		t.Fatalf("plan %+v, error %v", plan, err)
	}
	return plan, s
}

// TestPortionRecords holds what is remembered of portions, and that the next plan goes by it.
func TestPortionRecords(t *testing.T) {
	plan, s := apart(t)
	shared, private := s.Division.Shared.Steps, s.Division.Private[1].Steps
	when := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	pc := s.Farm[0]
	part := func(steps []crossbuild.Step, paths ...string) *crossbuild.Part {
		p := &crossbuild.Part{Node: "pc", Step: &steps[len(steps)-1], Paths: paths}
		for i := range steps {
			p.Steps = append(p.Steps, &steps[i])
		}
		return p
	}
	got := coordinator.PlanRecord(plan, []coordinator.MadePart{
		{Part: part(shared, "/app"), Node: pc, Took: 20 * time.Second, Steps: 4, Cached: 1, Bytes: 2100},
		{Part: part(shared[:1], "/lib"), Node: pc, Took: 30 * time.Second, Steps: 4, Cached: 2, Bytes: 70},
		{Part: part(private), Node: pc, Took: 8 * time.Second, Bytes: 5e6},
		{Part: part(programs("amd64 other")), Node: pc, Took: time.Hour, Bytes: 1},
	}, when)
	amd64, arm64 := platforms.MustParse("amd64"), platforms.MustParse("arm64")
	want := []coordinator.Record{
		{
			Platform: amd64, Portion: coordinator.PortionShared, Node: "pc", URL: "ssh://pc", Strategy: crossbuild.Native, Seconds: 30, Cached: 3. / 8, Work: 11, When: when,
			Travelled: map[string]int64{coordinator.TravelKey("RUN npm build", []string{"/app"}): 2100, coordinator.TravelKey("RUN npm install", []string{"/lib"}): 70},
		},
		{
			Platform: arm64, Portion: coordinator.PortionPrivate, Node: "pc", URL: "ssh://pc", Strategy: crossbuild.Native, Seconds: 8, Work: 6, When: when,
			Travelled: map[string]int64{coordinator.TravelKey("RUN go build for arm64", nil): 5e6},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("want -, got +:\n%s", diff)
	}

	file := history(t, t.TempDir())
	add(t, file, "k", got...)
	add(t, file, "k", ran("pi", "arm64", crossbuild.Native, 5, 0))
	if diff := cmp.Diff(want, read(t, file, "k")[:2]); diff != "" {
		t.Fatalf("read: want -, got +:\n%s", diff)
	}
	s.History = coordinator.History{Records: read(t, file, "k")}
	if last, _ := s.History.Last(arm64); last.Seconds != 5 {
		t.Errorf("a portion is taken for a platform: %+v", last)
	}
	if seconds, ok := s.History.Seconds(pc.Entry, amd64, crossbuild.Native); ok {
		t.Errorf("a portion is taken for a platform that took %v s", seconds)
	}
	plan, err := coordinator.NewPlan(s)
	if err != nil {
		t.Fatal(err)
	}
	// Where it was done the last time, half of it is taken to be in the cache.
	if o := plan.Portions[0]; o.Expected != 15 || plan.Portions[1].Travels[0].Bytes != 5e6 {
		t.Errorf("expected %v s, travels %+v", o.Expected, plan.Portions[1].Travels)
	}
}

func TestHistoryOfBuilds(t *testing.T) {
	arm64 := platforms.MustParse("arm64")
	first, second := took("pi", 1, 0), took("pi", 1, 0)
	first.Build, first.Travelled = arm64, map[string]int64{"a": 1, "b": 2}
	second.Travelled = map[string]int64{"b": 3}
	h := records(first, second)
	if got := h.Build(); got != arm64 {
		t.Errorf("BUILDPLATFORM was %q", got)
	}
	if diff := cmp.Diff(map[string]int64{"a": 1, "b": 3}, h.Travelled()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if got := (coordinator.History{}).Build(); got != (platforms.Platform{}) {
		t.Errorf("of nothing it was %q", got)
	}
}

// TestMoreWork holds that what was measured of less than is wanted now, is taken to be as much less.
func TestMoreWork(t *testing.T) {
	r := ran("a", "amd64", crossbuild.Native, 10, 0)
	r.Work = 6 // one step
	for _, test := range []struct {
		rule string
		work float64
		want float64
	}{{"of as much", 11, 10}, {"of less", 6, 10 * 11. / 6}, {"of nobody knows how much", 0, 10}, {"of nonsense", -3, 10}} {
		t.Run(test.rule, func(t *testing.T) {
			r.Work = test.work
			plan, err := coordinator.NewPlan(coordinator.Situation{
				Graphs: []*crossbuild.Graph{graph("amd64", "amd64", "amd64")}, Farm: pair(nil)[:1], History: records(r, ran("x", "s390x", crossbuild.Native, 1, 1)),
			})
			// Half of it is in the cache.
			if err != nil || plan.Assignments[0].Expected < test.want/2-0.1 || plan.Assignments[0].Expected > test.want/2+0.1 {
				t.Errorf("expected %v, error %v", plan.Assignments[0].Expected, err)
			}
		})
	}
}

// TestClaimedPortions holds that portions are load for other builds of this machine.
func TestClaimedPortions(t *testing.T) {
	plan, _ := apart(t)
	if diff := cmp.Diff(map[string]int{"pc": 3, "pi": 1}, coordinator.NodesOf(plan.Assignments, plan.Portions)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestSlowLink holds that a home is not where what it needs comes to late.
func TestSlowLink(t *testing.T) {
	web := programs("amd64 npm build")
	build := func(down float64, travelled map[string]int64) string {
		s := divided(pair(func(a, b *nodes.Node) { a.Info.Down, b.Info.Running = down, 0 }),
			parted{"amd64", web, nil, []string{"amd64 a"}}, parted{"arm64", web, nil, []string{"amd64 a"}})
		s.Travelled = travelled
		plan, err := coordinator.NewPlan(s)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Assignments[0].Node + plan.Assignments[1].Node
	}
	key := coordinator.TravelKey("RUN npm build", []string{"/app"})
	got := []string{build(0, nil), build(1e6, nil), build(1e6, map[string]int64{key: 100}), build(1e9, map[string]int64{key: 1e12})}
	if diff := cmp.Diff([]string{"ab", "aa", "ab", "aa"}, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}
