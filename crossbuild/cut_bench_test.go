// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"fmt"
	"testing"

	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// made gives all parts of a cut, as a node sees them.
func made(c *crossbuild.Cut, node string) crossbuild.Imports {
	return func(part int) (crossbuild.Import, bool) {
		if c.Parts[part].Node == node {
			return crossbuild.Import{}, true
		}
		return crossbuild.Import{Ref: fmt.Sprintf("mab/part%d@sha256:%064d", part, part), Store: "mab"}, true
	}
}

// BenchmarkNewCut divides and cuts the graphs of four targets, 2,000 steps in all, and writes every definition. A quarter of the steps is
// shared, a quarter private; others copy from every tenth of them.
func BenchmarkNewCut(b *testing.B) {
	targets := []platforms.Platform{amd64, arm64, armv7, s390x}
	places := crossbuild.Places{Shared: "a", Home: []string{"a", "b", "c", "d"}, Private: []string{"a", "a", "b", "b"}}
	const each = 500
	var graphs []*crossbuild.Graph
	var defs []*pb.Definition
	for ti, target := range targets {
		var d definition
		at := d.add(copyFile(0, 1), d.add(image(amd64, "golang")), d.add(local("context", fmt.Sprint(ti))))
		var results []int
		for i := range each / 2 {
			name := fmt.Sprint("shared ", i)
			if i >= each/4 {
				name = fmt.Sprint("private ", i, target)
			}
			at = d.add(exec(amd64, name), at)
			if i%10 == 0 {
				results = append(results, at)
			}
		}
		at = d.add(image(target, "alpine"))
		for i := range each/2 - 5 {
			if i < len(results) {
				at = d.add(copyFile(0, 1), at, results[i])
			} else {
				at = d.add(exec(target, fmt.Sprint("home ", i)), at)
			}
		}
		defs = append(defs, d.end(at))
		graphs = append(graphs, mustRead(b, target, defs[ti]))
	}
	for b.Loop() {
		cut, err := crossbuild.NewCut(graphs, crossbuild.Divide(graphs, amd64), places)
		if err != nil {
			b.Fatal(err)
		}
		if len(cut.Parts) < 25 {
			b.Fatal(len(cut.Parts))
		}
		for i, p := range cut.Parts {
			if _, err := cut.Part(i, made(cut, p.Node)); err != nil {
				b.Fatal(err)
			}
		}
		for i := range graphs {
			if _, err := cut.Target(i, defs[i], made(cut, places.Home[i])); err != nil {
				b.Fatal(err)
			}
			cut.Early(i)
		}
	}
}
