// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

func TestMoved(t *testing.T) {
	graph := func(target string, images ...string) *crossbuild.Graph {
		g := &crossbuild.Graph{Target: platforms.MustParse(target)}
		for _, ref := range images {
			g.Steps = append(g.Steps, crossbuild.Step{Kind: crossbuild.KindImage, Source: "docker-image://" + ref, Platform: g.Target})
		}
		return g
	}
	for _, c := range []struct {
		rule string
		arm  *crossbuild.Graph
		want string
	}{
		{"one tag, one digest", graph("linux/arm64", "alpine:3@sha256:aa"), ""},
		{"another tag", graph("linux/arm64", "alpine:4@sha256:bb"), ""},
		{"a tag that was changed between the platforms", graph("linux/arm64", "alpine:3@sha256:bb"), "looking up base images: alpine:3 was changed meanwhile"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got := ""
			if err := coordinator.Moved([]*crossbuild.Graph{graph("linux/amd64", "alpine:3@sha256:aa"), c.arm}); err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("error (-want +got):\n%s", d)
			}
		})
	}
}
