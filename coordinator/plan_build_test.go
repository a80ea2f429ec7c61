// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

// owning is a farm as farm makes it, whose nodes have the first platform that each runs for their own.
func owning(texts ...string) []nodes.Node {
	out := farm(texts...)
	for i := range out {
		out[i].URL = "ssh://" + out[i].Name
		out[i].Info.Own = out[i].Info.Survey[0].Platform
	}
	return out
}

func TestBuildPlatforms(t *testing.T) {
	unknown := func(list []nodes.Node) []nodes.Node {
		list[0].Info.Own = platforms.Platform{}
		return list
	}
	power := func(list []nodes.Node, scores ...float64) []nodes.Node {
		for i, s := range scores {
			list[i].Info.Survey[0].Score = s
		}
		return list
	}
	cpus := func(list []nodes.Node, counts ...int) []nodes.Node {
		for i, n := range counts {
			list[i].Info.Machine.CPUs = n
		}
		return list
	}
	here := func(list []nodes.Node, at int) []nodes.Node {
		list[at].URL = nodes.Local
		return list
	}
	three := func() []nodes.Node { return owning("pi: arm64", "pc: amd64 386 (arm64)", "big: s390x", "pc2: amd64") }
	for _, test := range []struct {
		rule string
		farm []nodes.Node
		last string
		want string
	}{
		{"no node has none", nil, "", ""},
		{"no node has none, whatever it was the last time", nil, "amd64", ""},
		{"each once, in the order of the nodes", three(), "", "linux/arm64 linux/amd64 linux/s390x"},
		{"this machine's before others", here(three(), 1), "", "linux/amd64 linux/arm64 linux/s390x"},
		{"the one of the last time before all", here(three(), 1), "s390x", "linux/s390x linux/amd64 linux/arm64"},
		{"even if it is no node's own", here(three(), 1), "386", "linux/386 linux/amd64 linux/arm64 linux/s390x"},
		{"unless no node runs it natively any more", here(three(), 0), "riscv64", "linux/arm64 linux/amd64 linux/s390x"},
		{"emulated does not count", owning("pi: arm64 (amd64)"), "amd64", "linux/arm64"},
		{"one that is clearly faster", power(here(three(), 0), 100, 110, 151, 90), "", "linux/s390x linux/arm64 linux/amd64"},
		{"not one that is a little faster", power(here(three(), 0), 100, 110, 149, 90), "", "linux/arm64 linux/amd64 linux/s390x"},
		{"four CPUs are taken to be twice as fast", cpus(power(here(three(), 0), 100, 90, 90, 90), 1, 4, 1, 1), "", "linux/amd64 linux/arm64 linux/s390x"},
		{"more than 16 are not used", cpus(power(here(three(), 0), 100, 100, 90, 90), 16, 128, 1, 1), "", "linux/arm64 linux/amd64 linux/s390x"},
		{"without a score here nobody is known to be faster", power(here(three(), 0), 0, 110, 151, 90), "", "linux/arm64 linux/amd64 linux/s390x"},
		{"a node that does not say what it is does not count", unknown(three()), "", "linux/amd64 linux/s390x"},
		{"nor if it is the only one", unknown(owning("pi: arm64")), "", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var last platforms.Platform
			if test.last != "" {
				last = platforms.MustParse(test.last)
			}
			var got []string
			for _, p := range coordinator.BuildPlatforms(test.farm, last) {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}
