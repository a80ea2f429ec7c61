// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// fuzzed are the platforms of fuzzed situations.
var fuzzed = []string{"amd64", "arm64", "arm/v7", "s390x"}

// draw takes one number after the other out of random bytes; when they are used up, zeros.
type draw struct{ bytes []byte }

func (d *draw) next() int {
	if len(d.bytes) == 0 {
		return 0
	}
	b := d.bytes[0]
	d.bytes = d.bytes[1:]
	return int(b)
}

func (d *draw) graphs(steps []byte) []*crossbuild.Graph {
	var out []*crossbuild.Graph
	for i, b := range steps[:min(len(steps), len(fuzzed))] {
		var runs []string
		for n := range int(b>>4) % 3 {
			runs = append(runs, fuzzed[(int(b)+n*3)%len(fuzzed)])
		}
		out = append(out, graph(fuzzed[i], runs...))
	}
	return out
}

// node is one whose byte tells what it runs natively (low bits) and emulated (high bits). Without more bytes it has nothing else.
func (d *draw) node(i int, b byte) nodes.Node {
	n := nodes.Node{Entry: nodes.Entry{Name: fmt.Sprint("n", i), URL: fmt.Sprint("ssh://n", d.next()%4), Slots: d.next()%6 - 1}}
	for k, name := range fuzzed {
		how := emulation.None
		if b>>k&1 != 0 {
			how = emulation.Native
		} else if b>>(4+k)&1 != 0 {
			how = emulation.Emulated
		}
		n.Info.Survey = append(n.Info.Survey, emulation.Support{Platform: platforms.MustParse(name), How: how})
	}
	n.Info.Running = d.next()%9 - 1
	n.Info.Machine = nodes.Machine{CPUs: d.next() % 8, Disk: int64(d.next()%2) << 40, Free: int64(d.next()%6) << 30}
	return n
}

// unequal is what makes nodes differ that run the same.
func (d *draw) unequal(s *coordinator.Situation) {
	for i := range s.Farm {
		n := &s.Farm[i]
		n.Info.Latency, n.Info.Up = float64(d.next())/100, float64(d.next())*1e4
		for k := range n.Info.Survey {
			n.Info.Survey[k].Score = float64(d.next() - 1)
		}
	}
	for range d.next() % 12 {
		s.History.Records = append(s.History.Records, coordinator.Record{
			Platform: platforms.MustParse(fuzzed[d.next()%4]), URL: fmt.Sprint("ssh://n", d.next()%4), Strategy: crossbuild.Strategy(d.next()%7 - 1),
			Seconds: float64(d.next()-1) / 7, Cached: float64(d.next()%3) / 2,
		})
	}
}

func (d *draw) situation(steps, machines []byte, allow uint8, seed uint64) coordinator.Situation {
	s := coordinator.Situation{Graphs: d.graphs(steps), Seed: seed, Claimed: map[string]int{}}
	for i, b := range machines[:min(len(machines), 8)] {
		s.Farm = append(s.Farm, d.node(i, b))
	}
	for _, strategy := range []crossbuild.Strategy{crossbuild.Native, crossbuild.Cross, crossbuild.Emulated} {
		if allow>>strategy&1 != 0 {
			s.Allowed = append(s.Allowed, strategy)
		}
	}
	for range d.next() % 4 {
		s.Claimed[fmt.Sprint("n", d.next()%8)] = d.next()%9 - 1
	}
	for range d.next() % 4 {
		e := coordinator.Exclusion{Node: fmt.Sprint("n", d.next()%8), Strategy: crossbuild.Strategy(d.next() % 5), Any: d.next()%2 == 0, Why: "it was lost"}
		if b := d.next(); b%2 == 1 {
			e.Platform = platforms.MustParse(fuzzed[b/2%4])
		}
		s.Without = append(s.Without, e)
	}
	for range d.next() % 3 {
		s.Under = append(s.Under, coordinator.Assignment{Node: fmt.Sprint("n", d.next()%8), Expected: float64(d.next())})
	}
	return s
}

// FuzzNewPlan holds what every plan promises, whatever the situation: each platform once, in order, on a node that can build it so and is
// not excluded; or all platforms that nothing can build. Of nodes that differ in nothing but in what they run and have to do, none that
// emulates is chosen where one is idle that need not. A plan is the same whenever it is made.
func FuzzNewPlan(f *testing.F) {
	f.Add([]byte{3}, []byte{0b0001, 0b0110}, uint8(0), uint64(0), []byte{})
	f.Add([]byte{3, 4, 1, 9, 200}, []byte{0b0001, 0b0001, 0b0110, 0b1000}, uint8(0), uint64(7), []byte{1, 2, 3})
	f.Add([]byte{255, 254, 17, 33}, []byte{0b00010001}, uint8(3), uint64(1<<63), []byte{})
	f.Add([]byte{255, 254, 17, 33}, []byte{0b11110001, 0b11010010, 0b11111111, 0}, uint8(0), uint64(9), []byte("a rather long text, of which each letter says something of the farm and what it did"))
	f.Fuzz(func(t *testing.T, steps, machines []byte, allow uint8, seed uint64, more []byte) {
		d := &draw{more}
		s := d.situation(steps, machines, allow, seed)
		checkPlan(t, s, true)
		d.unequal(&s)
		checkPlan(t, s, false)
	})
}

// can tells how a node builds a graph in a situation; zero if it cannot, or may not.
func can(s coordinator.Situation, g *crossbuild.Graph, n nodes.Node) crossbuild.Strategy {
	d, err := crossbuild.Decide(g, n.Info, nil)
	if err != nil || !s.Allowed.Allows(d.Strategy) {
		return 0
	}
	for _, e := range s.Without {
		if e.Node == n.Name && (e.Any || e.Strategy == d.Strategy) && (e.Platform == platforms.Platform{} || e.Platform == g.Target) {
			return 0
		}
	}
	return d.Strategy
}

func checkPlan(t *testing.T, s coordinator.Situation, equal bool) {
	t.Helper()
	plan, err := coordinator.NewPlan(s)
	again, other := coordinator.NewPlan(s)
	if diff := cmp.Diff(plan, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(other) {
		t.Fatalf("it differs from time to time: %v, %v\n%s", err, other, diff)
	}
	var impossible, named []platforms.Platform
	for _, g := range s.Graphs {
		if !slices.ContainsFunc(s.Farm, func(n nodes.Node) bool { return can(s, g, n) != 0 }) {
			impossible = append(impossible, g.Target)
		}
	}
	var wrong *coordinator.UnbuildableError
	if errors.As(err, &wrong) {
		for _, p := range wrong.Platforms {
			named = append(named, p.Platform)
		}
		if diff := cmp.Diff(impossible, named); diff != "" {
			t.Fatalf("what cannot be built: want -, got +:\n%s", diff)
		}
		return
	}
	if err != nil || len(impossible) > 0 || len(plan.Assignments) != len(s.Graphs) {
		t.Fatalf("%d assignments for %d graphs, of which %v cannot be built: %v", len(plan.Assignments), len(s.Graphs), impossible, err)
	}
	used := map[string]bool{}
	for _, a := range slices.Concat(plan.Assignments, s.Under) {
		used[a.Node] = true
	}
	for i, a := range plan.Assignments {
		at := slices.IndexFunc(s.Farm, func(n nodes.Node) bool { return n.Name == a.Node })
		if a.Platform != s.Graphs[i].Target || at < 0 || a.Why == "" || can(s, s.Graphs[i], s.Farm[at]) != a.Strategy {
			t.Fatalf("assignment %d of %s is %+v", i, s.Graphs[i].Target, a)
		}
		for _, n := range s.Farm {
			idle := n.Info.Running <= 0 && s.Claimed[n.Name] <= 0 && !used[n.Name] && (n.Info.Machine.Free >= 2<<30 || n.Info.Machine == nodes.Machine{})
			better := can(s, s.Graphs[i], n)
			if equal && idle && a.Strategy == crossbuild.Emulated && better != 0 && better < crossbuild.Assisted {
				t.Fatalf("%s is idle and %s, but the plan is %+v", n.Name, better, a)
			}
		}
	}
}
