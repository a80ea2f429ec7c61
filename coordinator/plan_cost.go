// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"math"
	"slices"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// costs are how long a step takes by a strategy where neither the build nor the node was measured, as multiples of the same step on a CPU
// of its own. Measured on Dockerfiles that compile, linux/arm64 under QEMU 7.2 on amd64: a Go server 19.3 s native or cross, 24 s
// assisted, 214 s emulated; C with gcc 13.2 s, 15.5 s, 119 s; a script as configure writes them 0.3 s native, 5.5 s emulated or assisted.
var costs = [...]float64{crossbuild.Native: 1, crossbuild.Cross: 1, crossbuild.Assisted: 3, crossbuild.Emulated: 12}

const (
	// stepSeconds is what a RUN step is taken to need on a CPU of its own, and copySeconds what a build needs beside its steps. They weigh the
	// platforms of a build that was never measured against each other and against links; nobody is told them.
	stepSeconds = 5.0
	copySeconds = 1.0
	// roundTrips is how often a build asks its node and waits for the answer: a build without any step to run took 1.05 s over a link
	// with 100 ms between question and answer.
	roundTrips = 10
	// contextSize is what the context is taken to have, in bytes, where nobody knows.
	contextSize = 10e6
	// scoreRange keeps what a score can do within bounds: no node is taken for so many times faster or slower than the farm's middle.
	scoreRange = 50.0
)

// speed is how a node runs programs of a platform.
type speed struct {
	how emulation.How
	// cost is how long a step takes there, as a multiple of what the node in the middle of the farm needs for its own platform.
	cost float64
}

// supports is what the node says of a platform; ok is false if it does not run it.
func supports(info *nodes.Info, p platforms.Platform) (emulation.Support, bool) {
	for _, how := range []emulation.How{emulation.Native, emulation.Emulated} {
		for _, s := range info.Survey {
			if s.How == how && s.Platform.Covers(p) {
				return s, true
			}
		}
	}
	return emulation.Support{}, false
}

func scored(score float64) bool { return score > 0 && !math.IsInf(score, 0) }

// nativeScore is that of the first platform of the node's CPU that has one; zero if none has.
func nativeScore(info *nodes.Info) float64 {
	for _, s := range info.Survey {
		if s.How == emulation.Native && scored(s.Score) {
			return s.Score
		}
	}
	return 0
}

// middleScore is the median of the nodes' scores; zero if none has one.
func middleScore(farm []nodes.Node) float64 {
	var list []float64
	for i := range farm {
		if score := nativeScore(&farm[i].Info); score > 0 {
			list = append(list, score)
		}
	}
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// speedOf is how fast a node runs a platform, by its scores as far as it has some.
func speedOf(info *nodes.Info, p platforms.Platform, middle float64) speed {
	s, ok := supports(info, p)
	if !ok {
		return speed{}
	}
	strategy := crossbuild.Native
	if s.How == emulation.Emulated {
		strategy = crossbuild.Emulated
	}
	relative := func(score float64) float64 { return min(max(middle/score, 1/scoreRange), scoreRange*costs[strategy]) }
	switch native := nativeScore(info); {
	case middle > 0 && scored(s.Score):
		return speed{s.How, relative(s.Score)}
	case middle > 0 && native > 0:
		return speed{s.How, costs[strategy] * relative(native)}
	}
	return speed{s.How, costs[strategy]}
}

// group is what earlier builds took of one platform, or a portion of it, on one node by one strategy.
type group struct {
	subject
	url      string
	strategy crossbuild.Strategy
	mean     average
	// work is how much the newest of them did, as in Record.
	work float64
}

// groups puts records of the same kind together, in the order of the first of each.
func groups(h History) []group {
	var out []group
	for _, r := range h.Records {
		if !r.measures() || r.Strategy < crossbuild.Native || int(r.Strategy) >= len(costs) {
			continue
		}
		i := slices.IndexFunc(out, func(g group) bool {
			return g.subject == r.subject() && g.url == r.URL && g.strategy == r.Strategy
		})
		if i < 0 {
			i = len(out)
			out = append(out, group{subject: r.subject(), url: r.URL, strategy: r.Strategy})
		}
		out[i].add(r)
	}
	return out
}

// add adds a measurement. If it is of more or less than those before it was, they are taken to have taken as much more or less.
func (g *group) add(r Record) {
	if work := max(r.Work, 0); work > 0 {
		if g.work > 0 {
			g.mean.value *= work / g.work
		}
		g.work = work
	}
	g.mean.add(r.Seconds)
}

// workload is how many seconds each second of work is expected to take where a step costs 1, by what is known best.
type workload struct {
	// fast is from what was built without an emulator, slow from what was built with one. They differ, since no default is true of every
	// program.
	fast, slow float64
	// known is whether anything of it was measured, ever.
	known bool
}

func (w workload) of(s crossbuild.Strategy) float64 {
	if tier(s) == 0 {
		return w.fast
	}
	return w.slow
}

// tier ranks strategies by what they are like to be slower by: native and cross run no foreign program.
func tier(s crossbuild.Strategy) int {
	switch s {
	case crossbuild.Emulated:
		return 2
	case crossbuild.Assisted:
		return 1
	}
	return 0
}

// workloadOf takes the mean of the measurements that are like the subject: of itself, else of the others of this build. costs are those of
// the groups. Where there is nothing at all its zero value says so.
func workloadOf(of subject, list []group, costs []float64) workload {
	mean := func(like func(group) bool) float64 {
		sum, n := 0.0, 0.0
		for i, g := range list {
			if like(g) {
				sum += g.mean.value / costs[i] / g.work
				n++
			}
		}
		return sum / max(n, 1)
	}
	like := func(g group) bool { return g.subject == of }
	all := mean(like)
	if all == 0 {
		like = func(group) bool { return true }
		all = mean(like)
	}
	out := workload{fast: all, slow: all, known: all > 0}
	if fast := mean(func(g group) bool { return like(g) && tier(g.strategy) == 0 }); fast > 0 {
		out.fast = fast
	}
	if slow := mean(func(g group) bool { return like(g) && tier(g.strategy) > 0 }); slow > 0 {
		out.slow = slow
	}
	return out
}
