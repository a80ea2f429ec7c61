// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// cutting is a Dockerfile that is built for targets on nodes.
type cutting struct {
	dockerfile string
	targets    []platforms.Platform
	places     crossbuild.Places
}

func (c cutting) graphs(t testing.TB) []*crossbuild.Graph {
	t.Helper()
	var list []*crossbuild.Graph
	for _, p := range c.targets {
		list = append(list, read(t, p, c.dockerfile))
	}
	return list
}

func (c cutting) cut(t testing.TB) ([]*crossbuild.Graph, *crossbuild.Cut) {
	t.Helper()
	graphs := c.graphs(t)
	cut, err := crossbuild.NewCut(graphs, crossbuild.Divide(graphs, amd64), c.places)
	if err != nil {
		t.Fatal(err)
	}
	return graphs, cut
}

// showParts shows a cut as one line per part: what travels of which step, from where, what it waits for, and who needs it.
func showParts(c *crossbuild.Cut) []string {
	var list []string
	for i, p := range c.Parts {
		what := "all"
		if p.Paths != nil {
			what = strings.Join(p.Paths, " ")
		}
		line := fmt.Sprintf("%d: %s of %s on %s", i, what, p.Step.Name, p.Node)
		if p.Needs != nil {
			line += fmt.Sprint(" after ", p.Needs)
		}
		list = append(list, line+fmt.Sprint(" for ", p.Graphs))
	}
	return list
}

func TestNewCut(t *testing.T) {
	both := []platforms.Platform{amd64, arm64}
	for _, c := range []struct {
		rule string
		cutting
		want []string
	}{
		{"what is shared goes to other homes, the one on its node waits", cutting{`
FROM --platform=$BUILDPLATFORM node AS web
RUN npm run build
FROM alpine
RUN apk add nginx
COPY --from=web /dist /www`, both, crossbuild.Places{Home: []string{"pc", "pi"}, Shared: "pc"}}, []string{
			"0: /dist of [web 2/2] RUN npm run build on pc for [0 1]",
		}},
		{"what is private goes home, after what it needs of others", cutting{goApp,
			[]platforms.Platform{arm64, s390x}, crossbuild.Places{Home: []string{"pi", "z"}, Shared: "pc", Private: []string{"pc", "z"}}}, []string{
			"0: all of [build 4/5] RUN go generate on pc for [0 1]",
			"1: /app of [build 5/5] RUN GOARCH=arm64 go build on pc after [0] for [0]",
		}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			graphs, cut := c.cut(t)
			if d := cmp.Diff(c.want, showParts(cut)); d != "" {
				t.Errorf("parts (-want +got):\n%s", d)
			}
			have := func(int) (crossbuild.Import, bool) {
				return crossbuild.Import{Ref: "mab/part@sha256:0", Store: "mab"}, true
			}
			for i := range cut.Parts {
				def, err := cut.Part(i, have)
				if err != nil {
					t.Fatal(err)
				}
				t.Log(lines(mustRead(t, amd64, def)))
			}
			for i, g := range graphs {
				def, err := cut.Target(i, convert(t, g.Target, c.dockerfile), have)
				if err != nil {
					t.Fatal(err)
				}
				t.Log(strings.Join(lines(mustRead(t, amd64, def)), "\n"))
				for _, e := range cut.Early(i) {
					t.Log("early", lines(mustRead(t, amd64, e)))
				}
			}
		})
	}
}
