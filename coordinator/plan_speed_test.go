// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// large is a situation of so many platforms × targets over so many nodes of all kinds: a Dockerfile of 16 steps, half of which run
// programs.
func large(graphs, farm int) coordinator.Situation {
	var s coordinator.Situation
	names := []string{"amd64", "arm64", "arm/v7", "riscv64", "s390x", "ppc64le", "386", "arm/v6"}
	for i := range graphs {
		p := platforms.MustParse(names[i%len(names)])
		g := &crossbuild.Graph{Target: p}
		for k := range 16 {
			step := crossbuild.Step{Kind: crossbuild.KindFile, Name: fmt.Sprintf("[%d/16] COPY . .", k+1), Platform: p}
			if k%2 == 1 {
				step.Kind = crossbuild.KindExec
			}
			if k < i/len(names)%16 {
				step.Platform = platforms.MustParse("amd64")
			}
			step.Digest = digest.FromString(fmt.Sprint(i, k))
			step.Identity = step.Digest
			g.Steps = append(g.Steps, step)
		}
		s.Graphs = append(s.Graphs, g)
	}
	for i := range farm {
		n := nodes.Node{Entry: nodes.Entry{Name: fmt.Sprint("n", i), URL: fmt.Sprint("ssh://n", i)}}
		n.Info.Machine = nodes.Machine{CPUs: 1 + i%16, Disk: 1 << 40, Free: int64(i%50) << 30}
		n.Info.Running, n.Info.Latency, n.Info.Up = i%5, float64(i%7)/100, 1e6*float64(1+i%100)
		for k, name := range names {
			how := emulation.Emulated
			switch {
			case k == i%len(names):
				how = emulation.Native
			case (i+k)%11 == 0:
				how = emulation.None
			}
			n.Info.Survey = append(n.Info.Survey, emulation.Support{Platform: platforms.MustParse(name), How: how, Score: float64(10 + i%30)})
		}
		s.Farm = append(s.Farm, n)
		s.History.Records = append(s.History.Records, coordinator.Record{
			Platform: platforms.MustParse(names[i%len(names)]), Node: n.Name, URL: n.URL, Strategy: crossbuild.Native, Seconds: float64(10 + i),
		})
	}
	s.Seed = 1
	return s
}

// BenchmarkNewPlan shows that a plan is no part of what a build waits for: of 1,000 platforms over 200 nodes, the aim is 50 ms.
func BenchmarkNewPlan(b *testing.B) {
	for _, size := range []struct{ graphs, farm int }{{1, 1}, {4, 3}, {1000, 200}} {
		b.Run(fmt.Sprintf("%d-on-%d", size.graphs, size.farm), func(b *testing.B) {
			s := large(size.graphs, size.farm)
			for b.Loop() {
				if _, err := coordinator.NewPlan(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// stages are the graphs of a Dockerfile for two platforms: so many steps in stages of ten, of which three quarters are the same for both.
func stages(steps int) []*crossbuild.Graph {
	var out []*crossbuild.Graph
	for _, name := range []string{"amd64", "arm64"} {
		g := &crossbuild.Graph{Target: platforms.MustParse(name)}
		last := crossbuild.Step{Kind: crossbuild.KindFile, Name: "COPY", Platform: g.Target, Digest: digest.FromString("last" + name)}
		for i := range steps / 2 {
			text := fmt.Sprint("amd64 ", i)
			switch {
			case i/10%4 == 3 && i%20 < 10:
				text += " for " + name
			case i/10%4 == 3:
				text = fmt.Sprint(name, " own ", i)
			}
			g.Steps = append(g.Steps, programs(text)...)
			if i%10 > 0 {
				g.Steps[i].Inputs = []digest.Digest{g.Steps[i-1].Digest}
			}
			if i%10 == 9 {
				last.Inputs = append(last.Inputs, g.Steps[i].Digest)
			}
		}
		last.Identity = last.Digest
		g.Steps = append(g.Steps, last)
		out = append(out, g)
	}
	return out
}

// BenchmarkDividedPlan is all that is decided once the graphs are read: what can be done apart, who does what, and what travels.
func BenchmarkDividedPlan(b *testing.B) {
	s := coordinator.Situation{Graphs: stages(2000), Build: platforms.MustParse("amd64"), Farm: mixed(nil)}
	for b.Loop() {
		s.Division = crossbuild.Divide(s.Graphs, s.Build)
		plan, err := coordinator.NewPlan(s)
		if err != nil || len(plan.Portions) == 0 {
			b.Fatal(plan, err)
		}
	}
}
