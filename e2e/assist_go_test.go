// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// compilations are the packages that the log of go build -x says were compiled.
func compilations(log string) []string {
	var out []string
	for line := range strings.SplitSeq(log, "\n") {
		if _, rest, ok := strings.Cut(line, "/compile -o "); ok {
			_, pkg, _ := strings.Cut(rest, " -p ")
			pkg, _, _ = strings.Cut(pkg, " ")
			out = append(out, pkg)
		}
	}
	return out
}

// cgoFile builds programs that need a C compiler, which is emulated either way. What Go compiles is kept for what is built next.
const cgoFile = `FROM GOLANG AS build
ENV GOCACHE=/cache GOTOOLCHAIN=local CGO_ENABLED=1 GOFLAGS="-buildvcs=false -trimpath" CGO_CFLAGS="-O0 -g0"
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/cache,id=assist-cgo mkdir /out && go build FLAGS -x -o /out/program ./PACKAGE 2> /out/log
FROM scratch
COPY --from=build /out /
`

// TestAssistCgo builds with a C compiler: with cgo, and for the race detector. What was compiled assisted is found by what is wholly emulated: to Go it
// is the same action.
func TestAssistCgo(t *testing.T) {
	l := newLab(t)
	image := goRegistry(t, "golang-cc") + "/golang-cc"
	for _, test := range []struct{ rule, pkg, flags, source string }{
		{"cgo", "c", "", "package main\n\n// static int twice(int n) { return 2 * n; }\nimport \"C\"\n\nfunc main() { println(C.twice(21)) }\n"},
		{"the race detector", "race", "-race", "package main\n\nfunc main() { println(42) }\n"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			dir := l.context(map[string]string{
				"Dockerfile": strings.NewReplacer("GOLANG", image, "FLAGS", test.flags, "PACKAGE", test.pkg).Replace(cgoFile),
				"go.mod":     "module words\n\ngo 1.26\n", test.pkg + "/main.go": test.source,
			})
			build := func(strategy, assist string) (program []byte, log string) {
				out := l.mab("build", "--platform", foreignPlatform(), "--assist", assist, "-o", "-", dir)
				if out.code != 0 || !strings.Contains(out.stderr, foreignPlatform()+" on local: "+strategy+", ") || strings.Contains(out.stderr, "without assisting") {
					t.Fatalf("%+v", out)
				}
				files := readTar(t, strings.NewReader(out.stdout))
				return files["program"].content, files.text(t, "log")
			}
			assisted, first := build("assisted", "auto")
			if !slices.Contains(compilations(first), "runtime/cgo") && test.rule == "cgo" || !strings.Contains(first, "gcc") {
				t.Errorf("no C compiler ran:\n%s", first)
			}
			plain, second := build("emulated", "off")
			if list := compilations(second); len(list) > 0 {
				t.Errorf("the second build compiled %q", list)
			}
			if len(plain) == 0 || !bytes.Equal(assisted, plain) {
				t.Error("assisted it is another program than plainly linked")
			}
		})
	}
}

// TestFarmAssistFails has a step fail, while it is assisted, that one node does for the platforms of two.
func TestFarmAssistFails(t *testing.T) {
	l := newSplitLab(t, hosts("one", "two")...)
	host, foreign := hostPlatform(), foreignPlatform()
	broken := newStandIn()
	broken.compile[host] = "#!/bin/sh\necho the compiler of " + host + " runs\nexit 3\n"
	dir := l.onImage(broken.push(t, "farm"), "FROM --platform="+foreign+" GOLANG AS shared\nRUN go /program\nFROM BASE\nCOPY --from=shared /program /\nRUN cat /program\n")
	out := l.mab("build", "--progress", "plain", "--platform", strings.Join(twoPlatforms(), ","), "--node", "one,two", "-o", "out", dir)
	if out.code != 0 {
		t.Fatalf("%+v", out)
	}
	said(t, out, "without assisting go, because step ")
	for _, p := range twoPlatforms() {
		name := filepath.Join(l.dir, "out", strings.ReplaceAll(p, "/", "_"), "program")
		if got := strings.TrimSpace(read(t, name)); got != "program" {
			t.Errorf("%s has %q", p, got)
		}
	}
}
