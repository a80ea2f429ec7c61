// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"fmt"
	"testing"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// BenchmarkCandidates looks for what may be assisted in 2,000 steps that have no toolchain: all that assistance costs a build which has nothing of it.
func BenchmarkCandidates(b *testing.B) {
	var d definition
	at := d.add(image(arm64, "alpine"))
	for i := range 2000 {
		at = d.add(exec(arm64, fmt.Sprint("step ", i)), at)
	}
	graphs := []*crossbuild.Graph{mustRead(b, arm64, d.end(at))}
	for b.Loop() {
		found := crossbuild.Candidates(graphs, crossbuild.Assists{}, func(platforms.Platform) bool { return true })
		if len(found) > 0 {
			b.Fatal(found)
		}
	}
}
