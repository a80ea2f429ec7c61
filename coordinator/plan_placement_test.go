// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// pair are two nodes that are equal but for what change does to them.
func pair(change func(a, b *nodes.Node)) []nodes.Node {
	out := farm("a: amd64 (arm64)", "b: amd64 (arm64)")
	for i := range out {
		out[i].URL = "ssh://" + out[i].Name
	}
	if change != nil {
		change(&out[0], &out[1])
	}
	return out
}

// mixed is a farm of one node each that runs linux/amd64 and linux/arm64 natively; either emulates the other.
func mixed(change func(pc, pi *nodes.Node)) []nodes.Node {
	out := farm("pc: amd64 (arm64)", "pi: arm64 (amd64)")
	for i := range out {
		out[i].URL = "ssh://" + out[i].Name
	}
	if change != nil {
		change(&out[0], &out[1])
	}
	return out
}

// sends is a graph that takes files from the machine that builds.
func sends(g *crossbuild.Graph) *crossbuild.Graph {
	g.Steps = append([]crossbuild.Step{{Kind: crossbuild.KindLocal, Name: "context", Digest: "sha256:c", Identity: "sha256:c"}}, g.Steps...)
	return g
}

func ran(node, platform string, strategy crossbuild.Strategy, seconds, cached float64) coordinator.Record {
	return coordinator.Record{
		Platform: platforms.MustParse(platform), Node: node, URL: "ssh://" + node, Strategy: strategy, Seconds: seconds, Cached: cached,
	}
}

func records(list ...coordinator.Record) coordinator.History {
	return coordinator.History{Records: list}
}

func score(n *nodes.Node, platform string, score float64) {
	for i := range n.Info.Survey {
		if n.Info.Survey[i].Platform == platforms.MustParse(platform) {
			n.Info.Survey[i].Score = score
		}
	}
}

// TestPlacement holds which node a platform goes to, and what is said of it: NODE: the end of the assignment's Why.
func TestPlacement(t *testing.T) {
	one := []*crossbuild.Graph{graph("amd64", "amd64")}
	arm := []*crossbuild.Graph{graph("arm64", "arm64")}
	for _, test := range []struct {
		rule string
		s    coordinator.Situation
		want []string
	}{
		{"the first of equal nodes", coordinator.Situation{Graphs: one, Farm: pair(nil)}, []string{"a: its slot is free"}},
		{"of equal nodes this machine", coordinator.Situation{
			Graphs: one, Farm: pair(func(_, b *nodes.Node) { b.URL = nodes.Local }),
		}, []string{"b: its slot is free"}},
		{"of equal nodes the one with more CPUs", coordinator.Situation{Graphs: one, Farm: pair(func(a, b *nodes.Node) {
			a.URL, a.Info.Machine.CPUs, b.Info.Machine.CPUs = nodes.Local, 8, 16
		})}, []string{"b: 4 of 4 slots free"}},
		{"a node with less to do", coordinator.Situation{Graphs: one, Farm: pair(func(a, _ *nodes.Node) { a.Info.Running = 1 })}, []string{"b: its slot is free"}},
		{"what this machine's builds took counts", coordinator.Situation{Graphs: one, Farm: pair(nil), Claimed: map[string]int{"a": 1}}, []string{"b: its slot is free"}},
		{"but not twice", coordinator.Situation{
			Graphs: one, Farm: pair(func(a, b *nodes.Node) { a.Info.Running, b.Info.Running = 2, 3 }), Claimed: map[string]int{"a": 2},
		}, []string{"a: expected to be free first"}},
		{"slots are as many as CPUs, at most 4", coordinator.Situation{Graphs: one, Farm: pair(func(a, b *nodes.Node) {
			a.Info.Running, a.Info.Machine.CPUs, b.Info.Running, b.Info.Machine.CPUs = 3, 64, 2, 2
		})}, []string{"a: 1 of 4 slots free"}},
		{"or as many as the user says", coordinator.Situation{Graphs: one, Farm: pair(func(a, b *nodes.Node) {
			a.Slots, a.Info.Running, a.Info.Machine.CPUs, b.Info.Running, b.Info.Machine.CPUs = 1, 1, 64, 1, 2
		})}, []string{"b: 1 of 2 slots free"}},
		{"what this build has under way is load", coordinator.Situation{
			Graphs: one, Farm: pair(nil), Under: []coordinator.Assignment{{Node: "a"}, {Node: "elsewhere"}},
		}, []string{"b: its slot is free"}},
		{"for as long as was expected", coordinator.Situation{
			Graphs: one, Farm: pair(nil), Under: []coordinator.Assignment{{Node: "a", Expected: 100}, {Node: "b", Expected: 10}},
		}, []string{"b: expected to be free first"}},
		{"the longest is placed first, the order stays", coordinator.Situation{
			Graphs: []*crossbuild.Graph{graph("s390x"), graph("ppc64le"), graph("amd64", "amd64", "amd64")}, Farm: pair(nil),
		}, []string{"b: its slot is free", "b: expected to be free first", "a: its slot is free"}},
		{"a score tells which is faster", coordinator.Situation{Graphs: one, Farm: pair(func(a, b *nodes.Node) {
			score(a, "amd64", 100)
			score(b, "amd64", 300)
		})}, []string{"b: its slot is free"}},
		{"a slow node with a free slot is no better than a fast one without", coordinator.Situation{Graphs: one, Farm: pair(func(a, b *nodes.Node) {
			b.Info.Running = 1
			score(a, "amd64", 100)
			score(b, "amd64", 300)
		})}, []string{"b: expected to be free first"}},
		{"a fast CPU emulates fast", coordinator.Situation{Graphs: arm, Farm: pair(func(a, b *nodes.Node) {
			score(a, "amd64", 100)
			score(b, "amd64", 300)
		})}, []string{"b: its slot is free"}},
		{"what was measured tells more than a score", coordinator.Situation{Graphs: one, Farm: pair(func(a, b *nodes.Node) {
			score(a, "amd64", 300)
			score(b, "amd64", 100)
		}), History: records(ran("a", "amd64", crossbuild.Native, 95, 0), ran("b", "amd64", crossbuild.Native, 40, 0), ran("c", "amd64", crossbuild.Native, 1, 0))},
			[]string{"b: expected 40 s here, 95 s on a"}},
		{"what was measured elsewhere is told by the scores", coordinator.Situation{Graphs: one, Farm: pair(func(a, b *nodes.Node) {
			score(a, "amd64", 100)
			score(b, "amd64", 300)
		}), History: records(ran("a", "amd64", crossbuild.Native, 90, 0), ran("c", "s390x", crossbuild.Emulated, 1, 0))},
			[]string{"b: expected 30 s here, 45 s on a"}},
		{"what was emulated tells of emulators, and the rest of CPUs", coordinator.Situation{
			Graphs: arm, Farm: mixed(nil), History: records(ran("x", "arm64", crossbuild.Native, 10, 0), ran("y", "arm64", crossbuild.Emulated, 400, 0)),
		}, []string{"pi: expected 10 s here, 400 s on pc"}},
		{"where the cache is", coordinator.Situation{
			Graphs: one, Farm: pair(nil), History: records(ran("a", "amd64", crossbuild.Native, 40, 0), ran("b", "amd64", crossbuild.Native, 40, 0)),
		}, []string{"b: expected 20 s here, which built it last, 40 s on a"}},
		{"and where it was enough the last time, even if it is busy", coordinator.Situation{
			Graphs: one, Farm: pair(func(_, b *nodes.Node) { b.Info.Running, b.Slots = 1, 2 }),
			History: records(ran("b", "amd64", crossbuild.Native, 1000, 0), ran("b", "amd64", crossbuild.Native, 0.3, 1)),
		}, []string{"b: expected 281 s here, which built it last, 17 min on a"}},
		{"unless it has too much to do", coordinator.Situation{
			Graphs: one, Farm: pair(func(_, b *nodes.Node) { b.Info.Running = 1 }), History: records(ran("b", "amd64", crossbuild.Native, 40, 0)),
		}, []string{"a: expected 40 s here, 65 s on b (1 build running)"}},
		{"the cache counts before anything was measured", coordinator.Situation{
			Graphs: one, Farm: pair(nil), History: records(ran("b", "amd64", crossbuild.Native, 0.2, 1)),
		}, []string{"b: its slot is free, built this last"}},
		{"a link that makes one wait", coordinator.Situation{
			Graphs: one, Farm: pair(func(a, _ *nodes.Node) { a.Info.Latency = 0.1 }),
		}, []string{"b: its slot is free"}},
		{"a link that the context crosses slowly", coordinator.Situation{
			Graphs: []*crossbuild.Graph{sends(graph("amd64", "amd64"))},
			Farm:   pair(func(a, b *nodes.Node) { a.Info.Up, b.Info.Up, b.Info.Running = 1e5, 1e9, 0 }),
		}, []string{"b: its slot is free"}},
		{"which nothing crosses where no step needs it", coordinator.Situation{
			Graphs: one, Farm: pair(func(a, b *nodes.Node) { a.Info.Up, b.Info.Up = 1e5, 1e9 }),
		}, []string{"a: its slot is free"}},
		{"and which this machine does not use", coordinator.Situation{
			Graphs: []*crossbuild.Graph{sends(graph("amd64", "amd64"))},
			Farm:   pair(func(_, b *nodes.Node) { b.Info.Up, b.Info.Latency, b.URL = 1e3, 1, nodes.Local }),
		}, []string{"b: its slot is free"}},
		{"which has to be crossed once", coordinator.Situation{
			Graphs: []*crossbuild.Graph{sends(graph("amd64", "amd64")), sends(graph("s390x", "amd64"))},
			Farm:   pair(func(a, b *nodes.Node) { a.Info.Up, a.Slots, b.Info.Running = 10e6/7, 2, 1 }),
		}, []string{"a: 2 of 2 slots free", "a: 1 of 2 slots free"}},
		{"a disk with room", coordinator.Situation{
			Graphs: one, Farm: pair(func(a, b *nodes.Node) { a.Info.Machine.Free, b.Info.Running = 1<<30, 1 }),
		}, []string{"b: expected to be free first"}},
		{"a full one is better than none", coordinator.Situation{
			Graphs: one, Farm: pair(func(a, b *nodes.Node) {
				a.Info.Machine.Disk, b.Info.Running = 1<<40, 9
			}),
		}, []string{"a: its slot is free, though its disk is nearly full"}},
		{"native beats emulated with a few builds before it", coordinator.Situation{
			Graphs: arm, Farm: mixed(func(_, pi *nodes.Node) { pi.Info.Running = 4 }),
		}, []string{"pi: it would be emulated on pc, taken to be 12 times as slow"}},
		{"what is hardly emulated is hardly slower", coordinator.Situation{
			Graphs: []*crossbuild.Graph{graph("arm64", "arm64", "amd64")}, Farm: farm("pi: arm64 amd64", "pc: amd64 (arm64)"),
		}, []string{"pi: it would be emulated on pc, taken to be 6 times as slow"}},
		{"and then it is not said", coordinator.Situation{
			Graphs: []*crossbuild.Graph{graph("amd64", strings.Fields(strings.Repeat("amd64 ", 40)+"arm64")...)}, Farm: farm("pi: arm64 amd64", "pc: amd64 (arm64)"),
		}, []string{"pi: it would be emulated on pc"}},
		{"but not with very many", coordinator.Situation{
			Graphs: arm, Farm: mixed(func(_, pi *nodes.Node) { pi.Info.Running = 40 }),
		}, []string{"pc: its slot is free"}},
		{"native beats emulated where that was a little faster", coordinator.Situation{
			Graphs: arm, Farm: mixed(nil), History: records(ran("pi", "arm64", crossbuild.Native, 100, 0), ran("pc", "arm64", crossbuild.Emulated, 60, 0), ran("x", "arm64", crossbuild.Native, 100, 0)),
		}, []string{"pi: expected 100 s here, 60 s on pc"}},
		{"but not where that was clearly faster", coordinator.Situation{
			Graphs: arm, Farm: mixed(nil), History: records(ran("pi", "arm64", crossbuild.Native, 100, 0), ran("pc", "arm64", crossbuild.Emulated, 40, 0), ran("x", "arm64", crossbuild.Native, 100, 0)),
		}, []string{"pc: expected 40 s here, 100 s on pi"}},
		{"each where it is native", coordinator.Situation{
			Graphs: []*crossbuild.Graph{graph("amd64", "amd64"), graph("arm64", "arm64")}, Farm: mixed(nil),
		}, []string{"pc: it would be emulated on pi, taken to be 12 times as slow", "pi: it would be emulated on pc, taken to be 12 times as slow"}},
		{"a node that failed", coordinator.Situation{
			Graphs: one, Farm: pair(nil), Without: []coordinator.Exclusion{{Node: "a", Any: true, Why: "it was lost"}},
		}, []string{"b: a is not used: it was lost"}},
		{"a node that failed for this platform", coordinator.Situation{
			Graphs: []*crossbuild.Graph{graph("amd64", "amd64"), graph("s390x", "amd64")}, Farm: pair(func(_, b *nodes.Node) { b.Info.Running = 20 }),
			Without: []coordinator.Exclusion{{Node: "a", Any: true, Platform: platforms.MustParse("amd64"), Why: "it reaches no registry"}},
		}, []string{"b: a is not used: it reaches no registry", "a: its slot is free"}},
		{"a strategy that failed", coordinator.Situation{
			Graphs: []*crossbuild.Graph{graph("amd64", "amd64"), graph("arm64", "arm64")}, Farm: pair(func(_, b *nodes.Node) { b.Info.Running = 20 }),
			Without: []coordinator.Exclusion{{Node: "a", Strategy: crossbuild.Emulated, Why: "QEMU crashed"}},
		}, []string{"a: its slot is free", "b: a is not used: QEMU crashed"}},
		{"an exclusion of nothing", coordinator.Situation{Graphs: one, Farm: pair(nil), Without: []coordinator.Exclusion{{Node: "a"}}}, []string{"a: its slot is free"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			plan, err := coordinator.NewPlan(test.s)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range plan.Assignments {
				_, why, _ := strings.Cut(a.Why, "; ")
				got = append(got, a.Node+": "+why)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestOneNodeIsNotCompared(t *testing.T) {
	alone := pair(nil)[:1]
	plan, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("amd64", "amd64")}, Farm: alone, History: records(ran("a", "amd64", crossbuild.Native, 40, 0), ran("b", "amd64", crossbuild.Native, 40, 0)),
	})
	if err != nil {
		t.Fatal(err)
	}
	got := plan.Assignments[0]
	if got.Why != "the node runs linux/amd64 natively: 1 RUN step" || got.Expected != 40 || got.Alternatives != nil {
		t.Errorf("got %+v", got)
	}
}

func TestAlternatives(t *testing.T) {
	all := farm("pc: amd64 (arm64)", "pi: arm64", "pi2: arm64", "vm: amd64 !arm64", "old: arm64", "cloud: s390x (arm64)")
	all[1].Info.Running = 2
	plan, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("arm64", "arm64")}, Farm: all, Allowed: crossbuild.Strategies{crossbuild.Native},
		Without: []coordinator.Exclusion{{Node: "old", Any: true, Why: "its disk is full"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(plan.Assignments[0].Alternatives)
	want := `[{"node":"pi","strategy":"native","why_not":"2 builds running"},` +
		`{"node":"pc","strategy":"emulated","why_not":"--strategy native forbids it"},` +
		`{"node":"vm","why_not":"it does not run linux/arm64"},` +
		`{"node":"old","why_not":"its disk is full"},` +
		`{"node":"cloud","strategy":"emulated","why_not":"--strategy native forbids it"}]`
	if diff := cmp.Diff(want, string(raw)); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}

	many := make([]nodes.Node, 20)
	for i := range many {
		many[i] = node(fmt.Sprintf("n%d: amd64 (arm64)", i))
		many[i].URL, many[i].Info.Running = "ssh://"+many[i].Name, 20-i
	}
	plan, err = coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("amd64", "amd64")}, Farm: many, History: records(ran("n1", "amd64", crossbuild.Native, 10, 0), ran("x", "amd64", crossbuild.Native, 10, 0)),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range plan.Assignments[0].Alternatives {
		got = append(got, fmt.Sprintf("%s %v %s", a.Node, a.Expected, a.Why))
	}
	list := []string{}
	for i := range 8 {
		list = append(list, fmt.Sprintf("n%d %v %d builds running", 18-i, 32.5+10*float64(i), i+2))
	}
	if diff := cmp.Diff(list, got); plan.Assignments[0].Node != "n19" || diff != "" {
		t.Errorf("chosen %s; want -, got +:\n%s", plan.Assignments[0].Node, diff)
	}
}

// TestSeed holds that builds of several machines which start at once do not all choose the same of equal nodes.
func TestSeed(t *testing.T) {
	all := pair(func(a, b *nodes.Node) { a.Info.Latency, b.Info.Latency = 0.001, 0.002 })
	got := map[string]int{}
	for seed := range uint64(200) {
		plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: []*crossbuild.Graph{graph("amd64", "amd64")}, Farm: all, Seed: seed + 1})
		if err != nil {
			t.Fatal(err)
		}
		got[plan.Assignments[0].Node]++
	}
	if got["a"] < 70 || got["b"] < 70 {
		t.Errorf("chosen %v", got)
	}
}

// TestBuildsAtOnce holds that eight builds which begin together over two equal nodes take four each, whatever was built before.
func TestBuildsAtOnce(t *testing.T) {
	for rule, history := range map[string]coordinator.History{
		"never built":   {},
		"built on one":  records(ran("a", "amd64", crossbuild.Native, 40, 0)),
		"and not again": records(ran("a", "amd64", crossbuild.Native, 40, 0), ran("a", "amd64", crossbuild.Native, 0.2, 1)),
	} {
		for _, cpus := range []int{1, 2, 8} {
			t.Run(fmt.Sprintf("%s, %d CPUs", rule, cpus), func(t *testing.T) {
				dir, got := t.TempDir(), map[string]int{}
				all := pair(func(a, b *nodes.Node) { a.Info.Machine.CPUs, b.Info.Machine.CPUs = cpus, cpus })
				var mu sync.Mutex
				var group errgroup.Group
				for i := range 8 {
					claims := opened(t, dir)
					group.Go(func() error {
						return claims.With(t.Context(), func(claimed map[string]int) (map[string]int, error) {
							plan, err := coordinator.NewPlan(coordinator.Situation{
								Graphs: []*crossbuild.Graph{graph("amd64", "amd64")}, Farm: all, History: history, Claimed: claimed, Seed: uint64(i + 1),
							})
							if err != nil {
								return nil, err
							}
							mu.Lock()
							defer mu.Unlock()
							got[plan.Assignments[0].Node]++
							return map[string]int{plan.Assignments[0].Node: 1}, nil
						})
					})
				}
				if err := group.Wait(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(map[string]int{"a": 4, "b": 4}, got); diff != "" {
					t.Errorf("want -, got +:\n%s", diff)
				}
			})
		}
	}
}

func TestRecords(t *testing.T) {
	n := node("pc: amd64 (arm64)")
	n.URL = "ssh://pc"
	plan, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("amd64", "amd64"), graph("arm64", "arm64"), graph("s390x", "amd64")}, Farm: []nodes.Node{n},
	})
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for cpus, want := range map[int][]float64{1: {6, 61, 6}, 8: {73 * 6. / 61, 73, 73 * 6. / 61}} {
		n.Info.Machine.CPUs = cpus
		got := coordinator.Records(n, plan.Assignments, 73*time.Second, 0.25, when)
		for i, strategy := range []crossbuild.Strategy{crossbuild.Native, crossbuild.Emulated, crossbuild.Cross} {
			r := ran("pc", plan.Assignments[i].Platform.String(), strategy, want[i], 0.25)
			r.When, r.Work = when, 6
			if diff := cmp.Diff(r, got[i]); diff != "" {
				t.Errorf("%d CPUs: want -, got +:\n%s", cpus, diff)
			}
		}
	}
	if got := coordinator.Records(n, nil, time.Second, 0, when); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// TestOddScores holds that what a node says of its speed makes no time that is none.
func TestOddScores(t *testing.T) {
	for _, odd := range []float64{-1, 1e-300, 1e300} {
		s := coordinator.Situation{
			Graphs: []*crossbuild.Graph{graph("amd64", "amd64"), graph("arm64", "arm64")}, History: records(ran("a", "amd64", crossbuild.Native, 40, 0)),
			Farm: pair(func(a, b *nodes.Node) {
				score(a, "amd64", odd)
				score(a, "arm64", odd)
				score(b, "amd64", 100)
			}),
		}
		plan, err := coordinator.NewPlan(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range plan.Assignments {
			if a.Expected <= 0 || a.Expected > 1e6 {
				t.Errorf("with a score of %g %s is expected to take %v s", odd, a.Platform, a.Expected)
			}
		}
	}
}
