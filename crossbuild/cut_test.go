// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/llbsolver"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"

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
		{"nothing travels where all is on one node", cutting{goApp, both, crossbuild.Places{
			Home: []string{"pc", "pc"}, Shared: "pc", Private: []string{"pc", "pc"}}}, nil},
		{"nothing travels where each home does it for itself", cutting{goApp, both, crossbuild.Places{Home: []string{"pc", "pi"}}}, nil},
		{"what is shared goes with what is private where no node does it for all", cutting{goApp,
			[]platforms.Platform{arm64, s390x}, crossbuild.Places{Home: []string{"pi", "z"}, Private: []string{"pc", "pc"}}}, []string{
			"0: /app of [build 5/5] RUN GOARCH=arm64 go build on pc for [0]",
			"1: /app of [build 5/5] RUN GOARCH=s390x go build on pc after [0] for [1]",
		}},
		{"what is changed further travels as it is then, not with what it was made on", cutting{`
FROM --platform=$BUILDPLATFORM golang AS build
RUN make
COPY extra /out/
FROM alpine
RUN x
COPY --from=build /out /out`, both, crossbuild.Places{Home: []string{"pc", "pi"}, Shared: "pc"}}, []string{
			"0: /out of [build 3/3] COPY extra /out/ on pc for [0 1]",
		}},
		{"what is copied onto something else is copied at home", cutting{`
FROM --platform=$BUILDPLATFORM golang AS build
RUN make
FROM alpine AS mid
COPY --from=build /out /out
FROM mid
RUN x`, both, crossbuild.Places{Home: []string{"pc", "pi"}, Shared: "pc"}}, []string{
			"0: /out of [build 2/2] RUN make on pc for [0 1]",
		}},
		{"COPY --link and --chown travel thin, a mount whole", cutting{`
FROM --platform=$BUILDPLATFORM golang AS a
RUN make a
FROM --platform=$BUILDPLATFORM golang AS b
RUN make b
FROM alpine
RUN --mount=from=b,target=/b x
COPY --link --chown=1:1 --from=a /out/*.so /lib/`, both, crossbuild.Places{Home: []string{"pc", "pi"}, Shared: "pc"}}, []string{
			"0: all of [b 2/2] RUN make b on pc for [0 1]",
			"1: /out/*.so of [a 2/2] RUN make a on pc for [0 1]",
		}},
		{"a program on top of what is shared gets its layers", cutting{`
FROM --platform=linux/amd64 golang AS a
RUN make a
FROM a
ARG TARGETARCH
RUN x $TARGETARCH`, both, crossbuild.Places{Home: []string{"pc", "pi"}, Shared: "pc"}}, []string{
			"0: all of [a 2/2] RUN make a on pc for [0 1]",
		}},
		{"the result itself may be what travels", cutting{"FROM --platform=linux/amd64 golang\nRUN make", both,
			crossbuild.Places{Home: []string{"pc", "pi"}, Shared: "pc"}}, []string{
			"0: all of [2/2] RUN make on pc for [0 1]",
		}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			graphs, cut := c.cut(t)
			if d := cmp.Diff(c.want, showParts(cut)); d != "" {
				t.Errorf("parts (-want +got):\n%s", d)
			}
			for i, p := range cut.Parts {
				def, err := cut.Part(i, made(cut, p.Node))
				if err != nil {
					t.Fatal(err)
				}
				valid(t, def)
			}
			for i, g := range graphs {
				def, err := cut.Target(i, convert(t, g.Target, c.dockerfile), made(cut, c.places.Home[i]))
				if err != nil {
					t.Fatal(err)
				}
				valid(t, def)
			}
		})
	}
}

// valid holds a definition to what BuildKit itself wants of one.
func valid(t testing.TB, def *pb.Definition) {
	t.Helper()
	mustRead(t, amd64, def)
	if _, err := llbsolver.Load(t.Context(), def, nil, llbsolver.WithValidateCaps()); err != nil {
		t.Errorf("BuildKit does not take it: %v", err)
	}
}

const webApp = `
FROM --platform=$BUILDPLATFORM node AS web
RUN npm run build
FROM alpine
RUN apk add nginx
COPY --from=web /dist /www`

// web is cut so that the first target's home makes what is shared.
func web(t testing.TB, places crossbuild.Places, noCache bool) ([]*pb.Definition, *crossbuild.Cut) {
	t.Helper()
	var defs []*pb.Definition
	var graphs []*crossbuild.Graph
	for _, p := range []platforms.Platform{amd64, arm64} {
		def := convert(t, p, webApp)
		for _, md := range def.Metadata {
			md.IgnoreCache = noCache
		}
		defs = append(defs, def)
		graphs = append(graphs, mustRead(t, p, def))
	}
	cut, err := crossbuild.NewCut(graphs, crossbuild.Divide(graphs, amd64), places)
	if err != nil {
		t.Fatal(err)
	}
	return defs, cut
}

func TestTarget(t *testing.T) {
	places := crossbuild.Places{Home: []string{"pc", "pi"}, Shared: "pc"}
	t.Run("elsewhere a part is fetched, by its reference, in its platform", func(t *testing.T) {
		defs, cut := web(t, places, false)
		before := proto.CloneOf(defs[1])
		def, err := cut.Target(1, defs[1], made(cut, "pi"))
		if err != nil {
			t.Fatal(err)
		}
		g := mustRead(t, arm64, def)
		want := []string{
			"image linux/arm64: [stage-1 1/3] FROM docker.io/library/alpine:latest@sha256:…",
			"exec linux/arm64: [stage-1 2/3] RUN apk add nginx",
			"oci-layout linux/amd64: [mab] /dist of [web 2/2] RUN npm run build, made on pc",
			"file linux/arm64: [stage-1 3/3] COPY --from=web /dist /www",
		}
		got := lines(g)
		got[0] = cutDigest(got[0])
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("steps (-want +got):\n%s", d)
		}
		ref, _ := made(cut, "pi")(0)
		if g.Steps[2].Source != "oci-layout://"+ref.Ref {
			t.Errorf("source %q", g.Steps[2].Source)
		}
		for i, line := range []int{4, 5, 3, 6} {
			if l := g.Steps[i].Locations; len(l) != 1 || l[0].Start != line-1 {
				t.Errorf("step %d comes from %v", i, l)
			}
		}
		if !proto.Equal(before, defs[1]) {
			t.Error("the definition that was given has changed")
		}
		if string(def.Def[0]) != string(defs[1].Def[0]) {
			t.Error("a step that does not change has other bytes")
		}
	})
	t.Run("on its node it stays as it is, but is not run again for no-cache's sake", func(t *testing.T) {
		defs, cut := web(t, places, true)
		def, err := cut.Target(0, defs[0], made(cut, "pc"))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, s := range mustRead(t, amd64, def).Steps {
			got[cutDigest(s.Name)] = s.NoCache
		}
		want := map[string]bool{
			"[web 1/2] FROM docker.io/library/node:latest@sha256:…":       false,
			"[web 2/2] RUN npm run build":                                 false,
			"[stage-1 1/3] FROM docker.io/library/alpine:latest@sha256:…": true,
			"[stage-1 2/3] RUN apk add nginx":                             true,
			"[stage-1 3/3] COPY --from=web /dist /www":                    true,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("no-cache (-want +got):\n%s", d)
		}
	})
	t.Run("without parts it is the one that was given", func(t *testing.T) {
		defs, cut := web(t, places, false)
		def, err := cut.Target(1, defs[1], func(int) (crossbuild.Import, bool) { return crossbuild.Import{}, false })
		if err != nil || def != defs[1] {
			t.Errorf("another definition, error %v", err)
		}
	})
	t.Run("what depends on a target gets the same parts", func(t *testing.T) {
		defs, cut := web(t, places, false)
		var scan definition
		scan.Def = slices.Clone(defs[1].Def[:len(defs[1].Def)-1])
		scan.Metadata = defs[1].Metadata
		scanner := scan.add(image(arm64, "scanner"))
		def, err := cut.Target(1, scan.end(scan.add(mounting(exec(arm64, "scan")), scanner, scanner-1)), made(cut, "pi"))
		if err != nil {
			t.Fatal(err)
		}
		valid(t, def)
		if got := strings.Join(lines(mustRead(t, arm64, def)), "\n"); strings.Contains(got, "exec linux/amd64") || !strings.Contains(got, "[mab]") || !strings.Contains(got, "scan") {
			t.Errorf("steps:\n%s", got)
		}
	})
	t.Run("a platform without a home is refused", func(t *testing.T) {
		if _, err := crossbuild.NewCut([]*crossbuild.Graph{nil}, nil, crossbuild.Places{}); err == nil {
			t.Error("it is not")
		}
	})
}

func TestPart(t *testing.T) {
	_, cut := web(t, crossbuild.Places{Home: []string{"pi", "pi2"}, Shared: "pc"}, false)
	def, err := cut.Part(0, made(cut, "pc"))
	if err != nil {
		t.Fatal(err)
	}
	g := mustRead(t, amd64, def)
	last := g.Steps[len(g.Steps)-1]
	if want := "[mab] /dist out of [web 2/2] RUN npm run build"; last.Name != want {
		t.Errorf("name %q, want %q", last.Name, want)
	}
	if len(last.Locations) != 1 || last.Locations[0].Start != 5 {
		t.Errorf("a path that is missing is told of at %v, not at its COPY", last.Locations)
	}
	if d := cmp.Diff([]string{"pi", "pi2"}, cut.To(0)); d != "" {
		t.Errorf("nodes (-want +got):\n%s", d)
	}
}

func TestEarly(t *testing.T) {
	for _, c := range []struct {
		rule   string
		places crossbuild.Places
		want   []string
	}{
		{"what needs no part", crossbuild.Places{Home: []string{"pi", "pc"}, Shared: "pc"}, []string{"[stage-1 2/3] RUN apk add nginx"}},
		{"nothing is early where nothing is waited for", crossbuild.Places{Home: []string{"pc", "pc"}, Shared: "pc"}, nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, cut := web(t, c.places, false)
			for i := range c.places.Home {
				var got []string
				for _, def := range cut.Early(i) {
					valid(t, def)
					got = append(got, programs(mustRead(t, arm64, def))...)
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("early of %d (-want +got):\n%s", i, d)
				}
			}
		})
	}
}

func TestForSession(t *testing.T) {
	var d definition
	prefixed := local("context", "2")
	prefixed.GetSource().Attrs[pb.AttrLocalSessionID] = "other:s2"
	layout := source("oci-layout://x")
	layout.GetSource().Attrs = map[string]string{pb.AttrOCILayoutSessionID: "s1"}
	merge := &pb.MergeOp{}
	for i := range int64(4) {
		merge.Inputs = append(merge.Inputs, &pb.MergeInput{Input: i})
	}
	op := &pb.Op{Op: &pb.Op_Merge{Merge: merge}}
	def := d.end(d.add(op, d.add(local("context", "1")), d.add(prefixed), d.add(layout), d.add(source("oci-layout://mab"))))
	got, err := crossbuild.ForSession(def, "new")
	if err != nil {
		t.Fatal(err)
	}
	valid(t, got)
	var sessions []string
	for _, raw := range got.Def {
		var op pb.Op
		if err := op.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		if a := op.GetSource().GetAttrs(); op.GetSource() != nil {
			sessions = append(sessions, a[pb.AttrLocalSessionID]+a[pb.AttrOCILayoutSessionID])
		}
	}
	if d := cmp.Diff([]string{"new", "other:new", "new", ""}, sessions); d != "" {
		t.Errorf("sessions (-want +got):\n%s", d)
	}
	if again, err := crossbuild.ForSession(got, "new"); err != nil || again != got {
		t.Errorf("the session's own definition is changed, error %v", err)
	}
}
