// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// parts draws graphs of which something can be done apart, and portions that an earlier plan had of them.
func (d *draw) parts(s *coordinator.Situation) {
	shared := programs([]string{"amd64 a", "amd64 b", "arm64 c"}[:d.next()%4]...)
	var list []parted
	for _, g := range s.Graphs {
		p := parted{target: g.Target.String()}
		if d.next()%3 > 0 {
			p.shared = shared
		}
		for range d.next() % 3 {
			p.home = append(p.home, fuzzed[d.next()%len(fuzzed)]+fmt.Sprint(" own", len(p.home)))
		}
		if len(p.home) > 0 {
			for i := range d.next() % 3 {
				p.private = append(p.private, fmt.Sprint("amd64 private", i))
			}
		}
		list = append(list, p)
	}
	made := divided(s.Farm, list...)
	s.Graphs, s.Division, s.Build = made.Graphs, made.Division, made.Build
	for i, p := range list {
		if len(p.private) > 0 && d.next()%4 == 3 {
			s.Standing = append(s.Standing, coordinator.Portion{
				Kind: coordinator.PortionPrivate, Node: fmt.Sprint("n", d.next()%8), Strategy: crossbuild.Native, Platforms: []platforms.Platform{s.Graphs[i].Target},
				Steps: []crossbuild.Handling{{Step: &s.Division.Private[i].Steps[0], How: crossbuild.RunsNatively}},
			})
		}
	}
	if d.next()%4 == 3 {
		s.Standing = append(s.Standing, coordinator.Portion{
			Kind: coordinator.PortionShared, Node: fmt.Sprint("n", d.next()%8), Strategy: crossbuild.Native, Platforms: []platforms.Platform{platforms.MustParse("riscv64"), platforms.MustParse("arm64")},
		})
	}
}

// FuzzPortions holds what every plan with portions promises, whatever the situation: each platform once, on a node that can do all that no
// portion does; each portion once, on a node that can do it and is not excluded; and no platform is given up that one node could build
// alone.
func FuzzPortions(f *testing.F) {
	f.Add([]byte{3, 4}, []byte{0b0001, 0b0010}, uint8(0), []byte{})
	f.Add([]byte{3, 4, 1, 9}, []byte{0b0001, 0b0001, 0b0110, 0b1000}, uint8(0), []byte{1, 2, 3, 1, 2, 1, 3, 1, 1, 2, 1, 2, 2, 1, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3})
	f.Add([]byte{255, 254, 17, 33}, []byte{0b00010001, 0b00110010}, uint8(3), []byte("a rather long text, of which each letter says something of the farm and what it did"))
	f.Fuzz(func(t *testing.T, steps, machines []byte, allow uint8, more []byte) {
		d := &draw{more}
		s := d.situation(steps, machines, allow, 0)
		d.parts(&s)
		checkPortions(t, s)
		d.unequal(&s)
		checkPortions(t, s)
	})
}

func checkPortions(t *testing.T, s coordinator.Situation) {
	t.Helper()
	plan, err := coordinator.NewPlan(s)
	again, other := coordinator.NewPlan(s)
	if diff := cmp.Diff(plan, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(other) {
		t.Fatalf("it differs from time to time: %v, %v\n%s", err, other, diff)
	}
	if err != nil {
		checkGivenUp(t, s, err)
		return
	}
	if len(plan.Assignments) != len(s.Graphs) {
		t.Fatalf("%d assignments for %d graphs", len(plan.Assignments), len(s.Graphs))
	}
	shared := checkEach(t, s, plan)
	at := plan.Places(s.Graphs)
	for i, a := range plan.Assignments {
		g := s.Graphs[i]
		gone := map[digest.Digest]bool{}
		if shared {
			mark(gone, s.Division.Shared)
		}
		if at.Private[i] != "" {
			mark(gone, s.Division.Private[i])
		}
		left := &crossbuild.Graph{Target: g.Target}
		for _, step := range g.Steps {
			if !gone[step.Identity] {
				left.Steps = append(left.Steps, step)
			}
		}
		n := slices.IndexFunc(s.Farm, func(n nodes.Node) bool { return n.Name == a.Node })
		if a.Platform != g.Target || at.Home[i] != a.Node || n < 0 || a.Why == "" || len(a.Steps) != len(left.Steps) || can(s, left, s.Farm[n]) != a.Strategy {
			t.Fatalf("assignment %d of %s is %+v, with portions %+v", i, g.Target, a, plan.Portions)
		}
	}
}

func mark(in map[digest.Digest]bool, g *crossbuild.Graph) {
	if g == nil {
		return
	}
	for _, s := range g.Steps {
		in[s.Identity] = true
	}
}

// checkEach looks at the portions, and reports whether there is one that is shared.
func checkEach(t *testing.T, s coordinator.Situation, plan *coordinator.Plan) bool {
	t.Helper()
	seen := map[string]bool{}
	shared := false
	for _, p := range plan.Portions {
		key := string(p.Kind)
		if p.Kind == coordinator.PortionPrivate {
			key += p.Platforms[0].String()
		}
		n := slices.IndexFunc(s.Farm, func(n nodes.Node) bool { return n.Name == p.Node })
		if seen[key] || n < 0 || len(p.Platforms) == 0 || len(s.Farm) < 2 {
			t.Fatalf("portion %+v, of %v", p, seen)
		}
		seen[key], shared = true, shared || p.Kind == coordinator.PortionShared
		for _, e := range s.Without {
			if e.Node == p.Node && (e.Any || e.Strategy == p.Strategy) && (e.Platform == platforms.Platform{} || slices.Contains(p.Platforms, e.Platform)) {
				t.Fatalf("portion %+v is where it must not be: %+v", p, e)
			}
		}
		if slices.ContainsFunc(s.Standing, func(o coordinator.Portion) bool { return o.Kind == p.Kind && o.Node == p.Node }) {
			continue
		}
		for _, h := range p.Steps {
			info := s.Farm[n].Info
			_, emulated := info.Emulator(h.Step.Platform)
			if native := info.Native(h.Step.Platform); native != (h.How == crossbuild.RunsNatively) || !native && !emulated || p.Kind == coordinator.PortionPrivate && !native {
				t.Fatalf("portion %+v does not run there as it says", p)
			}
		}
		ok := s.Allowed.Allows(p.Strategy) || p.Strategy != crossbuild.Emulated && s.Allowed.Allows(crossbuild.Cross)
		if len(p.Steps) == 0 || p.Why == "" || !ok {
			t.Fatalf("portion %+v", p)
		}
	}
	return shared
}

// checkGivenUp holds that an error names only platforms that no node can build alone.
func checkGivenUp(t *testing.T, s coordinator.Situation, err error) {
	t.Helper()
	var wrong *coordinator.UnbuildableError
	if !errors.As(err, &wrong) || len(wrong.Platforms) == 0 {
		t.Fatalf("error %v", err)
	}
	for _, p := range wrong.Platforms {
		g := s.Graphs[slices.IndexFunc(s.Graphs, func(g *crossbuild.Graph) bool { return g.Target == p.Platform })]
		if slices.ContainsFunc(s.Farm, func(n nodes.Node) bool { return can(s, g, n) != 0 }) && len(s.Farm) < 2 {
			t.Fatalf("%s is given up: %v", p.Platform, err)
		}
	}
	if !slices.ContainsFunc(s.Graphs, func(g *crossbuild.Graph) bool {
		return !slices.ContainsFunc(s.Farm, func(n nodes.Node) bool { return can(s, g, n) != 0 })
	}) {
		t.Fatalf("each platform can be built by a node, but: %v", err)
	}
}
