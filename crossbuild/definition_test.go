// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

func TestReadDockerfile(t *testing.T) {
	for _, c := range []struct {
		rule, dockerfile string
		want             []string
	}{
		{"RUN has its stage's platform", `
FROM --platform=$BUILDPLATFORM golang AS build
WORKDIR /src
COPY . .
ARG TARGETARCH
RUN GOARCH=$TARGETARCH go build
FROM alpine
RUN apk add tzdata
COPY --from=build /src/app /app`, []string{
			"image linux/arm64: [stage-1 1/3] FROM docker.io/library/alpine:latest@sha256:…",
			"exec linux/arm64: [stage-1 2/3] RUN apk add tzdata",
			"image linux/amd64: [build 1/4] FROM docker.io/library/golang:latest@sha256:…",
			"file linux/amd64: [build 2/4] WORKDIR /src",
			"local any: [internal] load build context",
			"file linux/amd64: [build 3/4] COPY . .",
			"exec linux/amd64: [build 4/4] RUN GOARCH=arm64 go build",
			"file linux/arm64: [stage-1 3/3] COPY --from=build /src/app /app",
		}},
		{"a copy onto scratch has no platform, whatever it copies", `
FROM --platform=$BUILDPLATFORM golang AS build
FROM scratch
COPY --from=build /a /a
COPY --from=build /b /b`, []string{
			"image linux/amd64: [build 1/1] FROM docker.io/library/golang:latest@sha256:…",
			"file any: [stage-1 1/2] COPY --from=build /a /a",
			"file any: [stage-1 2/2] COPY --from=build /b /b",
		}},
		{"an unused stage is no part of it", `
FROM golang AS unused
RUN false
FROM alpine`, []string{
			"image linux/arm64: [stage-1 1/1] FROM docker.io/library/alpine:latest@sha256:…",
		}},
		{"a mount of another stage does not change the platform", `
FROM --platform=$BUILDPLATFORM golang AS tools
FROM alpine
RUN --mount=from=tools,target=/t /t/x`, []string{
			"image linux/arm64: [stage-1 1/2] FROM docker.io/library/alpine:latest@sha256:…",
			"image linux/amd64: [tools 1/1] FROM docker.io/library/golang:latest@sha256:…",
			"exec linux/arm64: [stage-1 2/2] RUN --mount=from=tools,target=/t /t/x",
		}},
		{"git, http and heredocs are sources and files", `
FROM alpine
ADD https://example.com/a.tar /a.tar
ADD https://github.com/moby/buildkit.git#v0.33.1 /b
COPY <<eot /c
text
eot`, []string{
			"image linux/arm64: [1/4] FROM docker.io/library/alpine:latest@sha256:…",
			"http any: [2/4] ADD https://example.com/a.tar /a.tar",
			"file linux/arm64: [2/4] ADD https://example.com/a.tar /a.tar",
			"git any: [3/4] ADD https://github.com/moby/buildkit.git#v0.33.1 /b",
			"file linux/arm64: [3/4] ADD https://github.com/moby/buildkit.git#v0.33.1 /b",
			"file any: [internal] preparing inline document",
			"file linux/arm64: [4/4] COPY <<eot /c",
		}},
		{"FROM scratch alone is an empty graph", "FROM scratch\nLABEL a=b", nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got := lines(read(t, arm64, c.dockerfile))
			for i := range got {
				got[i] = cutDigest(got[i])
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("steps (-want +got):\n%s", d)
			}
		})
	}
}

func cutDigest(s string) string {
	if i := strings.Index(s, "@sha256:"); i >= 0 {
		return s[:i] + "@sha256:…"
	}
	return s
}

func TestReadStep(t *testing.T) {
	g := read(t, arm64, `
FROM alpine
RUN --mount=type=secret,id=token --mount=type=ssh --mount=type=cache,target=/c \
    make
RUN --network=none make check`)
	got := g.Steps[1]
	want := crossbuild.Step{
		Digest: got.Digest, Identity: got.Digest, Kind: crossbuild.KindExec,
		Name:      "[stage-0 2/3] RUN --mount=type=secret,id=token --mount=type=ssh --mount=type=cache,target=/c     make",
		Platform:  arm64,
		Inputs:    []digest.Digest{g.Steps[0].Digest},
		Locations: []crossbuild.Location{{File: "Dockerfile", Start: 2, End: 3}},
		Args:      []string{"/bin/sh", "-c", "make"},
		Uses:      crossbuild.Uses{Secrets: true, SSH: true, Cache: true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("step (-want +got):\n%s", d)
	}
	if d := cmp.Diff(crossbuild.Uses{Network: crossbuild.NetworkNone}, g.Steps[2].Uses); d != "" {
		t.Errorf("uses of --network=none (-want +got):\n%s", d)
	}
	if got := got.Locations[0].String(); got != "Dockerfile:2" {
		t.Errorf("location is %q", got)
	}
}

func TestReadUses(t *testing.T) {
	change := func(f func(*pb.ExecOp)) *pb.Op {
		op := exec(arm64, "make")
		f(op.GetExec())
		return op
	}
	attr := func(identifier, name string) *pb.Op {
		op := source(identifier)
		op.GetSource().Attrs = map[string]string{name: "x"}
		return op
	}
	for _, c := range []struct {
		rule string
		op   *pb.Op
		want crossbuild.Uses
	}{
		{"plain", exec(arm64, "make"), crossbuild.Uses{}},
		{"a secret in the environment", change(func(e *pb.ExecOp) { e.Secretenv = []*pb.SecretEnv{{ID: "a"}} }), crossbuild.Uses{Secrets: true}},
		{"host network", change(func(e *pb.ExecOp) { e.Network = pb.NetMode_HOST }), crossbuild.Uses{Network: crossbuild.NetworkHost}},
		{"a network mode of the future", change(func(e *pb.ExecOp) { e.Network = 9 }), crossbuild.Uses{Network: crossbuild.NetworkUnknown}},
		{"insecure", change(func(e *pb.ExecOp) { e.Security = pb.SecurityMode_INSECURE }), crossbuild.Uses{Security: crossbuild.SecurityInsecure}},
		{"a security mode of the future", change(func(e *pb.ExecOp) { e.Security = 9 }), crossbuild.Uses{Security: crossbuild.SecurityUnknown}},
		{"a device", change(func(e *pb.ExecOp) { e.CdiDevices = []*pb.CDIDevice{{Name: "gpu"}} }), crossbuild.Uses{Devices: true}},
		{"git by ssh", attr("git://example.com/a", pb.AttrMountSSHSock), crossbuild.Uses{SSH: true}},
		{"git has a token by default", attr("git://example.com/a", pb.AttrAuthTokenSecret), crossbuild.Uses{}},
		{"http with a secret", attr("https://example.com/a", pb.AttrHTTPAuthHeaderSecret), crossbuild.Uses{Secrets: true}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var d definition
			var inputs []int
			if c.op.GetExec() != nil {
				inputs = []int{d.add(image(arm64, "alpine"))}
			}
			g := mustRead(t, arm64, d.end(d.add(c.op, inputs...)))
			if d := cmp.Diff(c.want, g.Steps[len(g.Steps)-1].Uses); d != "" {
				t.Errorf("uses (-want +got):\n%s", d)
			}
		})
	}
}

func TestReadPlatform(t *testing.T) {
	anyPlatform := platforms.Platform{}
	noPlatform := func(op *pb.Op) *pb.Op { op.Platform = nil; return op }
	merge := func(n int64) *pb.Op {
		m := &pb.MergeOp{}
		for i := range n {
			m.Inputs = append(m.Inputs, &pb.MergeInput{Input: i})
		}
		return &pb.Op{Op: &pb.Op_Merge{Merge: m}}
	}
	diff := func(lower, upper int64) *pb.Op {
		return &pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: lower}, Upper: &pb.UpperDiffInput{Input: upper}}}}
	}
	second := copyFile(0, -1)
	second.GetFile().Actions[0].Output = 1
	second.GetFile().Actions = append(second.GetFile().Actions, copyFile(1, -1).GetFile().Actions...)
	elsewhere := copyFile(1, -1)
	elsewhere.GetFile().Actions[0].Output = 5
	chain := copyFile(0, 1)
	chain.GetFile().Actions[0].Output = -1
	chain.GetFile().Actions = append(chain.GetFile().Actions, &pb.FileAction{
		Input: 2, SecondaryInput: -1, Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: "/x"}},
	})
	build := &pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{
		Builder: -1, Inputs: map[string]*pb.BuildInput{pb.LLBDefinitionInput: {Input: 0}},
	}}}
	spelled := image(arm64, "x")
	spelled.Platform = &pb.Platform{OS: "Linux", Architecture: "aarch64", Variant: "v8"}
	// Every op is given two inputs: 0 is of linux/s390x, 1 of linux/arm/v7.
	for _, c := range []struct {
		rule   string
		op     *pb.Op
		inputs int
		want   platforms.Platform
	}{
		{"an op's own counts first", exec(amd64, "x"), 2, amd64},
		{"an op's own is normalised", spelled, 0, arm64},
		{"exec: its root file system's", noPlatform(exec(amd64, "x")), 2, s390x},
		{"image: the target", noPlatform(image(amd64, "x")), 0, arm64},
		{"OCI layout: the target", source("oci-layout://x"), 0, arm64},
		{"git: any", source("git://example.com/x"), 0, anyPlatform},
		{"an unknown source: any", source("s4://example.com/x"), 0, anyPlatform},
		{"file: what it changes", copyFile(1, 0), 2, armv7},
		{"file: what its first action changes", chain, 2, s390x},
		{"file: what leads to its first result", second, 2, armv7},
		{"file: its first action, if there is no first result", elsewhere, 2, armv7},
		{"file on scratch: any", copyFile(-1, 0), 2, anyPlatform},
		{"merge: the lowest layer's", merge(2), 2, s390x},
		{"diff: the lower side's", diff(0, 1), 2, s390x},
		{"diff from scratch: the upper side's", diff(-1, 0), 1, s390x},
		{"diff of scratch: any", diff(-1, -1), 0, anyPlatform},
		{"build: the input's", build, 1, s390x},
		{"passthrough: the first input's", &pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{1}}}}, 2, s390x},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var d definition
			in := []int{d.add(image(s390x, "a")), d.add(image(armv7, "b"))}
			g := mustRead(t, arm64, d.end(d.add(c.op, in[:c.inputs]...)))
			if d := cmp.Diff(c.want, g.Steps[len(g.Steps)-1].Platform); d != "" {
				t.Errorf("platform (-want +got):\n%s", d)
			}
		})
	}
}

func TestReadKind(t *testing.T) {
	for identifier, want := range map[string]crossbuild.Kind{
		"docker-image://a": crossbuild.KindImage, "docker-image+blob://a": crossbuild.KindBlob,
		"oci-layout://a": crossbuild.KindOCILayout, "oci-layout+blob://a": crossbuild.KindBlob,
		"local://a": crossbuild.KindLocal, "git://a": crossbuild.KindGit,
		"http://a": crossbuild.KindHTTP, "https://a": crossbuild.KindHTTP,
		"s4://a": crossbuild.KindSource, "": crossbuild.KindSource,
	} {
		t.Run("source "+identifier, func(t *testing.T) {
			var d definition
			got := mustRead(t, arm64, d.end(d.add(source(identifier)))).Steps[0]
			if got.Kind != want || got.Source != identifier || got.Runs() {
				t.Errorf("kind %s, source %q, runs %v; want %s, %q, false", got.Kind, got.Source, got.Runs(), want, identifier)
			}
		})
	}
}

func TestReadLocations(t *testing.T) {
	span := func(start, end int32) *pb.Range {
		return &pb.Range{Start: &pb.Position{Line: start}, End: &pb.Position{Line: end}}
	}
	var d definition
	i := d.add(source("git://a"))
	d.Source = &pb.Source{
		Infos: []*pb.SourceInfo{{Filename: "a"}, {Filename: "b"}},
		Locations: map[string]*pb.Locations{d.digest(i): {Locations: []*pb.Location{
			{SourceIndex: 0, Ranges: []*pb.Range{span(3, 3), span(4, 6), span(8, 8)}},
			{SourceIndex: 1, Ranges: []*pb.Range{span(9, 9)}},
			{SourceIndex: 1},
		}}},
	}
	want := []crossbuild.Location{{File: "a", Start: 3, End: 6}, {File: "a", Start: 8, End: 8}, {File: "b", Start: 9, End: 9}, {File: "b"}}
	got := mustRead(t, arm64, d.end(i)).Steps[0].Locations
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("locations (-want +got):\n%s", d)
	}
	if got[3].String() != "b" {
		t.Errorf("a file without lines is %q", got[3])
	}
}

func TestReadName(t *testing.T) {
	mk := &pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: []*pb.FileAction{
		{Input: -1, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/d"}}},
		{Input: 0, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Mkfile{Mkfile: &pb.FileActionMkFile{Path: "/f"}}},
		{Input: 1, SecondaryInput: -1, Action: &pb.FileAction_Symlink{Symlink: &pb.FileActionSymlink{Oldpath: "/f", Newpath: "/l"}}},
	}}}}
	for _, c := range []struct {
		rule string
		op   *pb.Op
		md   *pb.OpMetadata
		want string
	}{
		{"the frontend's", mk, &pb.OpMetadata{Description: map[string]string{"llb.customname": "[1/2] RUN x"}}, "[1/2] RUN x"},
		{"the progress group's", mk, &pb.OpMetadata{ProgressGroup: &pb.ProgressGroup{Name: "COPY"}}, "COPY"},
		{"no terminal codes, one line", mk, &pb.OpMetadata{Description: map[string]string{"llb.customname": "\x1b[2Ja\nb\u202e"}}, "[2Ja b"},
		{"files: the actions", mk, nil, "mkdir /d, mkfile /f, symlink /l -> /f"},
		{"source: the identifier", source("git://example.com/x"), nil, "git://example.com/x"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var d definition
			i := d.add(c.op)
			d.Metadata = map[string]*pb.OpMetadata{d.digest(i): c.md}
			if got := mustRead(t, arm64, d.end(i)).Steps[0].Name; got != c.want {
				t.Errorf("name is %q, want %q", got, c.want)
			}
		})
	}
}

func TestReadOrder(t *testing.T) {
	t.Run("inputs come first wherever the definition has them, what nothing needs is left out", func(t *testing.T) {
		var d definition
		a := d.add(image(arm64, "a"))
		d.add(image(arm64, "unused"))
		b := d.add(exec(arm64, "b"), a)
		d.Def[a], d.Def[b] = d.Def[b], d.Def[a] // places a and b now hold each other's bytes
		want := []string{"image linux/arm64: docker-image://a", "exec linux/arm64: b"}
		if d := cmp.Diff(want, lines(mustRead(t, arm64, d.end(a)))); d != "" {
			t.Errorf("steps (-want +got):\n%s", d)
		}
	})
	t.Run("no definition is an empty graph", func(t *testing.T) {
		if d := cmp.Diff(&crossbuild.Graph{Target: arm64}, mustRead(t, arm64, nil), cmpopts.IgnoreUnexported(crossbuild.Graph{})); d != "" {
			t.Errorf("graph (-want +got):\n%s", d)
		}
	})
	t.Run("no-cache is kept", func(t *testing.T) {
		def, err := llb.Image("a").Run(llb.Shlex("make"), llb.IgnoreCache).Root().Marshal(t.Context(), llb.LinuxArm64)
		if err != nil {
			t.Fatal(err)
		}
		g := mustRead(t, arm64, def.ToPB())
		if g.Steps[0].NoCache || !g.Steps[1].NoCache {
			t.Errorf("no-cache of image and exec is %v and %v, want false and true", g.Steps[0].NoCache, g.Steps[1].NoCache)
		}
	})
}
