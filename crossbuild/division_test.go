// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// programs names the steps of a graph that run programs.
func programs(g *crossbuild.Graph) []string {
	var list []string
	if g != nil {
		for _, s := range g.Steps {
			if s.Runs() {
				list = append(list, cutDigest(s.Name))
			}
		}
	}
	return list
}

func TestDivide(t *testing.T) {
	both := []platforms.Platform{arm64, s390x}
	for _, c := range []struct {
		rule       string
		targets    []platforms.Platform
		dockerfile string
		shared     []string
		private    [][]string
	}{
		{"what is equal is shared, what runs the build platform's programs is private", both, goApp,
			[]string{"[web 3/3] RUN npm run build", "[build 4/5] RUN go generate"},
			[][]string{{"[build 5/5] RUN GOARCH=arm64 go build"}, {"[build 5/5] RUN GOARCH=s390x go build"}}},
		{"a target that runs nothing else is whole", both, crossGo,
			[]string{"[build 2/4] RUN go mod download", "[build 3/4] RUN go generate"}, [][]string{nil, nil}},
		{"one target shares nothing", both[:1], goApp, nil,
			[][]string{{"[web 3/3] RUN npm run build", "[build 4/5] RUN go generate", "[build 5/5] RUN GOARCH=arm64 go build"}}},
		{"a shared program may be of any platform", both, "FROM --platform=linux/arm/v7 debian AS d\nRUN make\nFROM alpine\nRUN x\nCOPY --from=d /a /a",
			[]string{"[d 2/2] RUN make"}, [][]string{nil, nil}},
		{"what several of one platform run of that platform is done at their homes, and what they run of the build platform is shared",
			[]platforms.Platform{arm64, arm64}, "FROM --platform=$BUILDPLATFORM golang AS b\nRUN go\nFROM alpine\nRUN apk\nCOPY --from=b /a /a",
			[]string{"[b 2/2] RUN go"}, [][]string{nil, nil}},
		{"unless others run it, too", []platforms.Platform{arm64, arm64, s390x}, "FROM --platform=linux/arm64 debian AS d\nRUN make\nFROM alpine\nRUN x\nCOPY --from=d /a /a",
			[]string{"[d 2/2] RUN make"}, [][]string{nil, nil, nil}},
		{"where nothing is run, nothing is worth it", both, "FROM --platform=$BUILDPLATFORM golang AS b\nCOPY . .\nFROM alpine\nCOPY --from=b /a /a",
			nil, [][]string{nil, nil}},
		{"secrets, ssh and network modes move", both, `
FROM --platform=$BUILDPLATFORM golang AS b
RUN --mount=type=secret,id=a --mount=type=ssh --network=host a
RUN --network=none b
FROM alpine
COPY --from=b /a /a`, []string{
			"[b 2/3] RUN --mount=type=secret,id=a --mount=type=ssh --network=host a", "[b 3/3] RUN --network=none b",
		}, [][]string{nil, nil}},
		{"what is insecure stays, and what depends on it", both, `
FROM --platform=$BUILDPLATFORM golang AS b
RUN a
RUN --security=insecure b
RUN c
FROM alpine
RUN d
COPY --from=b /a /a`, []string{"[b 2/4] RUN a"}, [][]string{nil, nil}},
		{"a cache mount that all have in common moves with them", both, `
FROM --platform=$BUILDPLATFORM golang AS b
RUN --mount=type=cache,target=/c a
RUN --mount=type=cache,target=/c b
FROM alpine
RUN d
COPY --from=b /a /a`, []string{"[b 2/3] RUN --mount=type=cache,target=/c a", "[b 3/3] RUN --mount=type=cache,target=/c b"}, [][]string{nil, nil}},
		{"a cache mount that a private step needs, too, makes the shared one private", both, `
FROM --platform=$BUILDPLATFORM golang AS b
RUN a
RUN --mount=type=cache,target=/c download
ARG TARGETARCH
RUN --mount=type=cache,target=/c build $TARGETARCH
FROM alpine
RUN d
COPY --from=b /a /a`, []string{"[b 2/4] RUN a"}, [][]string{
			{"[b 3/4] RUN --mount=type=cache,target=/c download", "[b 4/4] RUN --mount=type=cache,target=/c build arm64"},
			{"[b 3/4] RUN --mount=type=cache,target=/c download", "[b 4/4] RUN --mount=type=cache,target=/c build s390x"},
		}},
		{"a cache mount of a step at home keeps the others there, and what depends on them", both, `
FROM --platform=$BUILDPLATFORM golang AS b
RUN --mount=type=cache,id=x,target=/c a
RUN b
FROM alpine
RUN --mount=type=cache,id=x,target=/c c
COPY --from=b /a /a`, nil, [][]string{nil, nil}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var graphs []*crossbuild.Graph
			for _, p := range c.targets {
				graphs = append(graphs, read(t, p, c.dockerfile))
			}
			d := crossbuild.Divide(graphs, amd64)
			if d := cmp.Diff(c.shared, programs(d.Shared)); d != "" {
				t.Errorf("shared (-want +got):\n%s", d)
			}
			for i, want := range c.private {
				if d := cmp.Diff(want, programs(d.Private[i])); d != "" {
					t.Errorf("private to %s (-want +got):\n%s", c.targets[i], d)
				}
			}
		})
	}
}

func TestDivideOps(t *testing.T) {
	for _, c := range []struct {
		rule string
		// make adds what a program's result depends on.
		make func(d *definition, golang int) int
		want int // programs that are shared
	}{
		{"an image", func(d *definition, golang int) int { return golang }, 1},
		{"a build graph of its own", func(d *definition, golang int) int {
			return d.add(&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Inputs: map[string]*pb.BuildInput{pb.LLBDefinitionInput: {}}}}}, golang)
		}, 0},
		{"a source of a kind of its own", func(d *definition, golang int) int { return d.add(source("s4://x")) }, 0},
		{"passing on", func(d *definition, golang int) int {
			return d.add(&pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{0}}}}, golang)
		}, 0},
		{"a device", func(d *definition, golang int) int {
			op := exec(amd64, "first")
			op.GetExec().CdiDevices = []*pb.CDIDevice{{Name: "gpu"}}
			return d.add(op, golang)
		}, 0},
		{"a network mode of the future", func(d *definition, golang int) int {
			op := exec(amd64, "first")
			op.GetExec().Network = 9
			return d.add(op, golang)
		}, 0},
		{"a mount of the future", func(d *definition, golang int) int {
			op := exec(amd64, "first")
			op.GetExec().Mounts = append(op.GetExec().Mounts, &pb.Mount{Dest: "/x", Input: -1, MountType: 9})
			return d.add(op, golang)
		}, 0},
		{"a worker that it chooses", func(d *definition, golang int) int {
			op := exec(amd64, "first")
			op.Constraints = &pb.WorkerConstraints{Filter: []string{"label.x==y"}}
			return d.add(op, golang)
		}, 0},
		{"a difference", func(d *definition, golang int) int {
			op := &pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 0}, Upper: &pb.UpperDiffInput{Input: 1}}}}
			return d.add(op, golang, d.add(exec(amd64, "first"), golang))
		}, 2},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var graphs []*crossbuild.Graph
			for _, p := range []platforms.Platform{arm64, s390x} {
				var d definition
				at := d.add(exec(amd64, "make"), c.make(&d, d.add(image(amd64, "golang"))))
				graphs = append(graphs, mustRead(t, p, d.end(d.add(copyFile(0, 1), d.add(exec(p, "home"), d.add(image(p, "alpine"))), at))))
			}
			if got := len(programs(crossbuild.Divide(graphs, amd64).Shared)); got != c.want {
				t.Errorf("%d programs are shared, want %d", got, c.want)
			}
		})
	}
	t.Run("what a difference at home is made of stays there", func(t *testing.T) {
		var graphs []*crossbuild.Graph
		for _, p := range []platforms.Platform{arm64, s390x} {
			var d definition
			golang := d.add(image(amd64, "golang"))
			op := &pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 0}, Upper: &pb.UpperDiffInput{Input: 1}}}}
			at := d.add(op, golang, d.add(exec(amd64, "make"), golang))
			graphs = append(graphs, mustRead(t, p, d.end(d.add(copyFile(0, 1), d.add(exec(p, "home"), d.add(image(p, "alpine"))), at))))
		}
		if d := crossbuild.Divide(graphs, amd64); d.Shared != nil || d.Private[0] != nil {
			t.Errorf("shared: %v, private: %v", programs(d.Shared), programs(d.Private[0]))
		}
	})
	t.Run("a graph that is not there has no steps", func(t *testing.T) {
		if d := crossbuild.Divide([]*crossbuild.Graph{nil, read(t, arm64, plain)}, amd64); d.Shared != nil || len(d.Private) != 2 {
			t.Errorf("division %v", d)
		}
	})
}

func TestWithout(t *testing.T) {
	graphs := []*crossbuild.Graph{read(t, arm64, goApp), read(t, s390x, goApp)}
	d := crossbuild.Divide(graphs, amd64)
	got := lines(graphs[0].Without(d.Shared, d.Private[0], nil))
	for i := range got {
		got[i] = cutDigest(got[i])
	}
	want := []string{
		"image linux/arm64: [stage-2 1/4] FROM docker.io/library/alpine:latest@sha256:…",
		"exec linux/arm64: [stage-2 2/4] RUN apk add tzdata",
		"exec linux/arm64: [stage-2 3/4] RUN adduser app",
		"file linux/arm64: [stage-2 4/4] COPY --from=build /app /app",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what is left (-want +got):\n%s", d)
	}
	if got := graphs[0].Without(graphs[0]); len(got.Steps) != 0 {
		t.Errorf("a graph without itself has %v", lines(got))
	}
}
