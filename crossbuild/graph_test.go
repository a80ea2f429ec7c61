// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

const goApp = `
FROM --platform=$BUILDPLATFORM node AS web
COPY web .
RUN npm run build
FROM --platform=$BUILDPLATFORM golang AS build
COPY . .
COPY --from=web /dist dist
RUN go generate
ARG TARGETARCH
RUN GOARCH=$TARGETARCH go build
FROM alpine
RUN apk add tzdata
RUN adduser app
COPY --from=build /app /app`

func TestDemands(t *testing.T) {
	g := read(t, arm64, goApp)
	show := func(demands []crossbuild.Demand) []string {
		var list []string
		for _, d := range demands {
			for _, s := range d.Execs {
				list = append(list, d.Platform.String()+": "+s.Name)
			}
		}
		return list
	}
	native := []string{
		"linux/arm64: [stage-2 2/4] RUN apk add tzdata",
		"linux/arm64: [stage-2 3/4] RUN adduser app",
	}
	cross := []string{
		"linux/amd64: [web 3/3] RUN npm run build",
		"linux/amd64: [build 4/5] RUN go generate",
		"linux/amd64: [build 5/5] RUN GOARCH=arm64 go build",
	}
	t.Run("all, platforms by first step", func(t *testing.T) {
		if d := cmp.Diff(append(native, cross...), show(g.Demands())); d != "" {
			t.Errorf("demands (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]platforms.Platform{arm64, amd64}, g.Executes()); d != "" {
			t.Errorf("platforms (-want +got):\n%s", d)
		}
	})
	t.Run("foreign ones are those a machine cannot run", func(t *testing.T) {
		got := show(g.Foreign(func(p platforms.Platform) bool { return p == arm64 }))
		if d := cmp.Diff(cross, got); d != "" {
			t.Errorf("demands (-want +got):\n%s", d)
		}
	})
	t.Run("a graph inside a step may run anything", func(t *testing.T) {
		var d definition
		build := &pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Inputs: map[string]*pb.BuildInput{pb.LLBDefinitionInput: {}}}}}
		g := mustRead(t, arm64, d.end(d.add(build, d.add(source("local://context")))))
		if d := cmp.Diff([]platforms.Platform{arm64}, g.Executes()); d != "" {
			t.Errorf("platforms (-want +got):\n%s", d)
		}
	})
	t.Run("a graph that only copies demands nothing", func(t *testing.T) {
		if got := read(t, arm64, "FROM alpine\nCOPY . .").Demands(); got != nil {
			t.Errorf("demands %v", got)
		}
	})
}

func TestShared(t *testing.T) {
	show := func(list []crossbuild.Common) []string {
		var out []string
		for _, c := range list {
			out = append(out, fmt.Sprintf("%v %v %s", c.Graphs, c.Targets, cutDigest(c.Step.Name)))
		}
		return out
	}
	t.Run("what does not depend on the target", func(t *testing.T) {
		got := crossbuild.Shared([]*crossbuild.Graph{read(t, arm64, goApp), nil, read(t, s390x, goApp)})
		both := "[0 2] [linux/arm64 linux/s390x] "
		want := []string{
			both + "[build 1/5] FROM docker.io/library/golang:latest@sha256:…",
			both + "[internal] load build context",
			both + "[build 2/5] COPY . .",
			both + "[web 1/3] FROM docker.io/library/node:latest@sha256:…",
			both + "[web 2/3] COPY web .",
			both + "[web 3/3] RUN npm run build",
			both + "[build 3/5] COPY --from=web /dist dist",
			both + "[build 4/5] RUN go generate",
		}
		if d := cmp.Diff(want, show(got)); d != "" {
			t.Errorf("shared (-want +got):\n%s", d)
		}
	})
	t.Run("two of three targets", func(t *testing.T) {
		const f = "FROM --platform=$BUILDPLATFORM golang\nARG TARGETVARIANT\nRUN make $TARGETVARIANT"
		var graphs []*crossbuild.Graph
		for _, p := range []platforms.Platform{arm64, armv7, s390x} {
			graphs = append(graphs, read(t, p, f))
		}
		want := []string{
			"[0 1 2] [linux/arm64 linux/arm/v7 linux/s390x] [1/2] FROM docker.io/library/golang:latest@sha256:…",
			"[0 2] [linux/arm64 linux/s390x] [2/2] RUN make",
		}
		if d := cmp.Diff(want, show(crossbuild.Shared(graphs))); d != "" {
			t.Errorf("shared (-want +got):\n%s", d)
		}
	})
	t.Run("one target shares nothing, even with itself", func(t *testing.T) {
		var d definition
		merge := &pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 0}, {Input: 1}}}}}
		twice := d.end(d.add(merge, d.add(local("a", "1")), d.add(local("a", "2"))))
		if got := crossbuild.Shared([]*crossbuild.Graph{mustRead(t, arm64, twice)}); len(got) != 0 {
			t.Errorf("shared: %v", show(got))
		}
	})
}

func local(name, id string) *pb.Op {
	op := source("local://" + name)
	op.GetSource().Attrs = map[string]string{
		pb.AttrLocalUniqueID: id, pb.AttrLocalSessionID: "s" + id, pb.AttrSharedKeyHint: "context",
		pb.AttrFollowPaths: "[a]", pb.AttrExcludePatterns: "[b]", pb.AttrLocalDiffer: "none", pb.AttrMetadataTransfer: "x", // several, whose order is no identity
	}
	return op
}

func TestIdentity(t *testing.T) {
	// last reads a graph of two ops and a copy that depends on both, and returns the copy.
	last := func(t *testing.T, context *pb.Op, from string, change func(*pb.Op)) crossbuild.Step {
		t.Helper()
		var d definition
		cp := copyFile(0, 1)
		if change != nil {
			change(cp)
		}
		g := mustRead(t, arm64, d.end(d.add(cp, d.add(image(arm64, from)), d.add(context))))
		return g.Steps[len(g.Steps)-1]
	}
	first := last(t, local("context", "1"), "alpine", nil)
	layout := func(session string) *pb.Op {
		op := source("oci-layout://x")
		op.GetSource().Attrs = map[string]string{pb.AttrOCILayoutSessionID: session}
		return op
	}
	if a, b := last(t, layout("1"), "alpine", nil), last(t, layout("2"), "alpine", nil); a.Identity != b.Identity || a.Digest == b.Digest {
		t.Errorf("an OCI layout of two sessions: identities %s and %s", a.Identity, b.Identity)
	}
	include := local("context", "2")
	include.GetSource().Attrs[pb.AttrIncludePatterns] = "[a]"
	for _, c := range []struct {
		rule  string
		other crossbuild.Step
		equal bool
	}{
		{"another conversion gives the same", last(t, local("context", "2"), "alpine", nil), true},
		{"another directory is another step", last(t, local("other", "1"), "alpine", nil), false},
		{"another part of the directory is another step", last(t, include, "alpine", nil), false},
		{"another base is another step", last(t, local("context", "1"), "debian", nil), false},
		{"another copy is another step", last(t, local("context", "1"), "alpine", func(op *pb.Op) {
			op.GetFile().Actions[0].GetCopy().Dest = "/c"
		}), false},
		{"what BuildKit of the future adds is another step", last(t, local("context", "2"), "alpine", func(op *pb.Op) {
			op.ProtoReflect().SetUnknown([]byte{0xa0, 0x06, 0x01}) // field 100, varint 1
		}), false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := first.Identity == c.other.Identity; got != c.equal {
				t.Errorf("identities are equal: %v, want %v", got, c.equal)
			}
			if first.Digest == c.other.Digest {
				t.Errorf("digests are equal, so the case tests nothing")
			}
		})
	}
	t.Run("without a local source it is the digest", func(t *testing.T) {
		for _, s := range read(t, arm64, "FROM golang\nRUN make\nFROM alpine\nCOPY --from=0 /a /a").Steps {
			if s.Identity != s.Digest {
				t.Errorf("step %q: identity %s, digest %s", s.Name, s.Identity, s.Digest)
			}
		}
	})
}

func TestBases(t *testing.T) {
	const f = "FROM --platform=$BUILDPLATFORM golang AS b\nFROM alpine\nCOPY --from=b /a /a\nCOPY --from=busybox:1 /b /b\nCOPY --from=alpine /c /c"
	var got []string
	for _, b := range crossbuild.Bases([]*crossbuild.Graph{read(t, arm64, f), nil, read(t, amd64, f)}) {
		got = append(got, fmt.Sprintf("%s %s %s", cutDigest(b.Reference), b.Platform, b.Location))
	}
	want := []string{
		"docker.io/library/alpine:latest@sha256:… linux/arm64 Dockerfile:2",
		"docker.io/library/golang:latest@sha256:… linux/amd64 Dockerfile:1",
		"docker.io/library/busybox:1@sha256:… linux/arm64 Dockerfile:4",
		"docker.io/library/alpine:latest@sha256:… linux/amd64 Dockerfile:2",
		"docker.io/library/busybox:1@sha256:… linux/amd64 Dockerfile:4",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("bases (-want +got):\n%s", d)
	}
}

func TestJSON(t *testing.T) {
	var d definition
	op := exec(arm64, "make")
	op.GetExec().Network = pb.NetMode_HOST
	i := d.add(op, d.add(local("context", "1")))
	d.Source = &pb.Source{
		Infos: []*pb.SourceInfo{{Filename: "Dockerfile"}},
		Locations: map[string]*pb.Locations{d.digest(i): {Locations: []*pb.Location{
			{Ranges: []*pb.Range{{Start: &pb.Position{Line: 3}, End: &pb.Position{Line: 4}}}},
		}}},
	}
	g := mustRead(t, arm64, d.end(i))
	for i := range g.Steps {
		g.Steps[i].Digest, g.Steps[i].Identity = "sha256:d", "sha256:i"
		for j := range g.Steps[i].Inputs {
			g.Steps[i].Inputs[j] = "sha256:d"
		}
	}
	got, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"target":"linux/arm64","steps":[` +
		`{"digest":"sha256:d","identity":"sha256:i","kind":"local","name":"local://context","source":"local://context"},` +
		`{"digest":"sha256:d","identity":"sha256:i","kind":"exec","name":"make","platform":"linux/arm64","inputs":["sha256:d"],` +
		`"locations":[{"file":"Dockerfile","start":3,"end":4}],"args":["make"],"uses":{"network":"host"}}]}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("JSON (-want +got):\n%s", d)
	}
}
