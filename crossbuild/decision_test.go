// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// machine is a node: what its CPU runs, and by which emulator it runs others.
type machine struct {
	native    []platforms.Platform
	emulators map[platforms.Platform]string
}

var _ crossbuild.Ability = machine{}

func (m machine) Native(p platforms.Platform) bool { return slices.Contains(m.native, p) }

func (m machine) Emulator(p platforms.Platform) (string, bool) {
	name, ok := m.emulators[p]
	return name, ok
}

const (
	plain    = "FROM alpine\nRUN a\nRUN b"
	onlyCopy = "FROM alpine\nCOPY . ."
	crossGo  = `
FROM --platform=$BUILDPLATFORM golang AS build
RUN go mod download
RUN go generate
ARG TARGETARCH
RUN GOARCH=$TARGETARCH go build
FROM alpine
COPY --from=build /app /app`
	foreignStage = `
FROM --platform=linux/arm64 debian AS data
RUN make data
FROM golang
RUN go build
RUN go test
COPY --from=data /data /data`
	threeArchs = `
FROM --platform=linux/s390x debian AS a
RUN a
FROM --platform=linux/arm/v7 debian AS b
RUN b
FROM golang
COPY --from=a /a /a
COPY --from=b /b /b
RUN c`
)

var (
	fast = machine{ // an amd64 machine with emulators
		native:    []platforms.Platform{amd64, platforms.MustParse("linux/386")},
		emulators: map[platforms.Platform]string{arm64: "QEMU 7.2", s390x: "QEMU 7.2", armv7: "QEMU 10.0"},
	}
	bare = machine{native: []platforms.Platform{amd64}}        // an amd64 machine without
	pi   = machine{native: []platforms.Platform{arm64, armv7}} // an arm64 machine without
)

func TestDecide(t *testing.T) {
	only := func(list ...platforms.Platform) func(platforms.Platform) bool {
		return func(p platforms.Platform) bool { return slices.Contains(list, p) }
	}
	for _, c := range []struct {
		rule       string
		target     platforms.Platform
		dockerfile string
		node       machine
		anywhere   func(platforms.Platform) bool
		want       crossbuild.Strategy
		why        string
		counts     [3]int // natively, emulated, nothing
	}{
		{"the node's own platform is native", amd64, plain, bare, nil,
			crossbuild.Native, "the node runs linux/amd64 natively: 2 RUN steps", [3]int{2, 0, 1}},
		{"its second platform is native too", armv7, plain, pi, nil,
			crossbuild.Native, "the node runs linux/arm/v7 natively: 2 RUN steps", [3]int{2, 0, 1}},
		{"a native stage of another platform stays native", arm64, "FROM --platform=linux/arm/v7 a\nRUN x\nFROM b\nRUN y\nCOPY --from=0 /a /a", pi, nil,
			crossbuild.Native, "the node runs linux/arm64 and linux/arm/v7 natively: 2 RUN steps", [3]int{2, 0, 3}},
		{"native without any program", amd64, onlyCopy, bare, nil,
			crossbuild.Native, "no step runs anything: files are only copied", [3]int{0, 0, 3}},
		{"foreign target, programs of the build platform: cross, without an emulator", arm64, crossGo, bare, nil,
			crossbuild.Cross, "no step runs linux/arm64 code: 3 run on linux/amd64, the rest copies", [3]int{3, 0, 3}},
		{"foreign target, nothing is run: cross", s390x, onlyCopy, bare, nil,
			crossbuild.Cross, "no step runs linux/s390x code: files are only copied", [3]int{0, 0, 3}},
		{"cross on two native platforms", s390x, "FROM --platform=linux/arm/v7 a\nRUN x\nFROM --platform=linux/arm64 b\nRUN y\nFROM c\nCOPY --from=0 /a /a\nCOPY --from=1 /b /b", pi, nil,
			crossbuild.Cross, "no step runs linux/s390x code: 1 runs on linux/arm/v7, 1 on linux/arm64, the rest copies", [3]int{2, 0, 5}},
		{"foreign programs are emulated", s390x, plain, fast, only(amd64),
			crossbuild.Emulated, "both RUN steps run under QEMU 7.2: no node runs linux/s390x natively", [3]int{0, 2, 1}},
		{"three of them", s390x, plain + "\nRUN c", fast, nil,
			crossbuild.Emulated, "all 3 RUN steps run under QEMU 7.2: this node does not run linux/s390x natively", [3]int{0, 3, 1}},
		{"a single one", s390x, "FROM alpine\nRUN a", fast, nil,
			crossbuild.Emulated, "the only RUN step runs under QEMU 7.2: this node does not run linux/s390x natively", [3]int{0, 1, 1}},
		{"some steps emulated, the others on the build platform", arm64, goApp, fast, only(amd64, arm64),
			crossbuild.Emulated, "2 of 5 RUN steps run under QEMU 7.2: this node does not run linux/arm64 natively", [3]int{3, 2, 8}},
		{"a foreign stage of a native target is emulated", amd64, foreignStage, fast, only(amd64),
			crossbuild.Emulated, "1 of 3 RUN steps runs under QEMU 7.2: no node runs linux/arm64 natively; linux/amd64 itself is native", [3]int{2, 1, 3}},
		{"two foreign platforms", amd64, threeArchs, fast, only(amd64, armv7),
			crossbuild.Emulated, "2 of 3 RUN steps run under QEMU 7.2 and QEMU 10.0: no node runs linux/s390x natively and this node does not run linux/arm/v7 natively; linux/amd64 itself is native", [3]int{1, 2, 5}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			g := read(t, c.target, c.dockerfile)
			got, err := crossbuild.Decide(g, c.node, c.anywhere)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want.String(), got.Strategy.String()); d != "" {
				t.Errorf("strategy (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.why, got.Why); d != "" {
				t.Errorf("why (-want +got):\n%s", d)
			}
			counts := [3]int{got.Count(crossbuild.RunsNatively), got.Count(crossbuild.RunsEmulated), got.Count(crossbuild.RunsNothing)}
			if d := cmp.Diff(c.counts, counts); d != "" {
				t.Errorf("steps natively, emulated, nothing (-want +got):\n%s", d)
			}
		})
	}
}

func TestDecideUnable(t *testing.T) {
	for _, c := range []struct {
		rule       string
		target     platforms.Platform
		dockerfile string
		node       machine
		want, hint string
	}{
		{"a foreign target without an emulator", s390x, plain, bare,
			`nothing runs linux/s390x, needed by step "[2/3] RUN a" (Dockerfile:2) and 1 more`,
			"add a node that runs linux/s390x, or on this one run: mab emulation install s390x"},
		{"a build platform that the node does not run", arm64, crossGo, pi,
			`nothing runs linux/amd64, needed by step "[build 2/4] RUN go mod download" (Dockerfile:2) and 2 more`,
			"add a node that runs linux/amd64, or on this one run: mab emulation install amd64"},
		{"only what is missing is named, in order", amd64, threeArchs, machine{emulators: map[platforms.Platform]string{s390x: "QEMU 7.2"}},
			`nothing runs linux/arm/v7, needed by step "[b 2/2] RUN b" (Dockerfile:4); nothing runs linux/amd64, needed by step "[stage-2 4/4] RUN c" (Dockerfile:8)`,
			"add a node that runs linux/arm/v7 and linux/amd64, or on this one run: mab emulation install arm amd64"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got, err := crossbuild.Decide(read(t, c.target, c.dockerfile), c.node, nil)
			var unable *crossbuild.UnableError
			if got != nil || !errors.As(err, &unable) {
				t.Fatalf("decision %v, error %v; want an UnableError", got, err)
			}
			if d := cmp.Diff(c.want, err.Error()); d != "" {
				t.Errorf("error (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.hint, unable.Hint()); d != "" {
				t.Errorf("hint (-want +got):\n%s", d)
			}
		})
	}
	t.Run("a step that the frontend places nowhere", func(t *testing.T) {
		var d definition
		g := mustRead(t, s390x, d.end(d.add(exec(s390x, "make"), d.add(image(s390x, "a")))))
		_, err := crossbuild.Decide(g, bare, nil)
		if d := cmp.Diff(`nothing runs linux/s390x, needed by step "make"`, fmt.Sprint(err)); d != "" {
			t.Errorf("error (-want +got):\n%s", d)
		}
	})
}

func TestDecisionJSON(t *testing.T) {
	var d definition
	g := mustRead(t, s390x, d.end(d.add(exec(s390x, "make"), d.add(local("context", "1")))))
	for i := range g.Steps {
		g.Steps[i].Digest, g.Steps[i].Identity, g.Steps[i].Inputs = "sha256:d", "sha256:i", nil
	}
	decision, err := crossbuild.Decide(g, fast, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(decision)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"target":"linux/s390x","strategy":"emulated",` +
		`"why":"the only RUN step runs under QEMU 7.2: this node does not run linux/s390x natively","steps":[` +
		`{"step":{"digest":"sha256:d","identity":"sha256:i","kind":"local","name":"local://context","source":"local://context"},"how":"nothing"},` +
		`{"step":{"digest":"sha256:d","identity":"sha256:i","kind":"exec","name":"make","platform":"linux/s390x","args":["make"]},` +
		`"how":"emulated","emulator":"QEMU 7.2"}]}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("JSON (-want +got):\n%s", d)
	}
}
