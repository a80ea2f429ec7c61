// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"math"
	"slices"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

const (
	// ahead is how many times as fast as this machine another must be for its platform to become BUILDPLATFORM: scores are noisy, and a
	// platform that changes from build to build finds no cache.
	ahead = 1.5
	// mostCPUs is how many CPUs a build is taken to use at most.
	mostCPUs = 16
)

// BuildPlatforms are what BUILDPLATFORM may be on a farm, the best first, each once: last, which it was the last time, if a node still runs
// it natively; the own platform of the fastest node, if that is clearly faster than this machine or, where that takes no part, the first
// node; that of this machine; and those of the others in their order. Nodes whose own platform is unknown do not count.
func BuildPlatforms(farm []nodes.Node, last platforms.Platform) []platforms.Platform {
	var out []platforms.Platform
	add := func(p platforms.Platform) {
		if p != (platforms.Platform{}) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if slices.ContainsFunc(farm, func(n nodes.Node) bool { return n.Info.Native(last) }) {
		add(last)
	}
	var known []nodes.Node
	for _, n := range farm {
		if n.Info.Own != (platforms.Platform{}) {
			known = append(known, n)
		}
	}
	if len(known) == 0 {
		return out
	}
	first := known[max(0, slices.IndexFunc(known, func(n nodes.Node) bool { return n.URL == nodes.Local }))]
	fastest := first
	for _, n := range known {
		if power(&n.Info) > power(&fastest.Info) {
			fastest = n
		}
	}
	if least := power(&first.Info); least > 0 && power(&fastest.Info) > ahead*least {
		add(fastest.Info.Own)
	}
	add(first.Info.Own)
	for _, n := range known {
		add(n.Info.Own)
	}
	return out
}

// power is how fast a node is with several steps at once; zero if it has no score. Twice as many CPUs are far from twice as fast: most steps
// use one.
func power(info *nodes.Info) float64 {
	return nativeScore(info) * math.Sqrt(float64(min(max(info.Machine.CPUs, 1), mostCPUs)))
}

// buildWhy tells whose platform BUILDPLATFORM is, for a sentence; "" where the nodes do not differ in it.
func buildWhy(farm []nodes.Node, build platforms.Platform) string {
	if build == (platforms.Platform{}) {
		return ""
	}
	of, differ := "", false
	for _, n := range farm {
		switch {
		case n.Info.Own == (platforms.Platform{}):
		case n.Info.Own != build:
			differ = true
		case of == "":
			of = n.Name
		}
	}
	switch {
	case !differ:
		return ""
	case of == "":
		return "that of no node"
	}
	return "that of " + of
}
