// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// frontend pushes BuildKit's Dockerfile frontend as an image, as upstream's docker/dockerfile is one, and returns its reference.
// https://github.com/moby/buildkit/blob/master/frontend/dockerfile/cmd/dockerfile-frontend/Dockerfile
func frontend(t testing.TB, l *lab) string {
	t.Helper()
	dir := l.context(map[string]string{"Dockerfile": `FROM scratch
LABEL moby.buildkit.frontend.network.none="true"
LABEL moby.buildkit.frontend.caps="moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts"
COPY dockerfile-frontend /bin/dockerfile-frontend
ENTRYPOINT ["/bin/dockerfile-frontend"]
`})
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", dir+"/dockerfile-frontend",
		"github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+runtime.GOARCH, "CGO_ENABLED=0")
	outputOf(t, build)
	return l.must("build", "-t", registry(t)+"/dockerfile:1", "--push", dir)
}

// TestFrontendImage builds by a frontend that is itself an image, run by the solver.
func TestFrontendImage(t *testing.T) {
	l := newLab(t)
	image := frontend(t, l)
	syntax := "# syntax=" + image + "\n"
	both := twoPlatforms()

	t.Run("for two platforms", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{
			"Dockerfile": syntax + `FROM BASE AS run
ARG FROM_FLAG
RUN <<EOT
uname -m > /machine
echo "$FROM_FLAG" > /flag
EOT
FROM scratch
COPY --from=run /machine /flag /
COPY file /
`,
			"file": "from context",
		})
		ref := registry(t) + "/frontend/app:1"
		index := pull(t, l.must("build", "--platform", strings.Join(both, ","), "--build-arg", "FROM_FLAG=given", "-t", ref, "--push", dir))
		wantMachines(t, index)
		for _, platform := range both {
			files := rootfsOf(t, imageOf(t, index, platform))
			if diff := cmp.Diff("given, from context", files.text(t, "flag")+", "+files.text(t, "file")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", platform, diff)
			}
		}
	})
	t.Run("plans say the same as without it", func(t *testing.T) {
		l := l.on(t)
		const dockerfile = "FROM BASE\nRUN uname -m\n"
		var strategies [][]string
		for _, first := range []string{"", syntax} {
			dir := l.contextOn(map[string]string{"Dockerfile": first + dockerfile})
			plan := decode[planned](t, l.must("plan", "--json", "--platform", strings.Join(both, ","), dir))
			strategies = append(strategies, append(plan.strategies(), plan.steps(both[1])...))
		}
		if diff := cmp.Diff(strategies[0], strategies[1]); diff != "" {
			t.Errorf("(-built-in +image):\n%s", diff)
		}
	})
	t.Run("a failing step shows its lines", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": syntax + "FROM BASE\nRUN exit 9\n"})
		l.refused(1, []string{"Dockerfile:3", ">>> RUN exit 9", "exit code: 9"}, "build", "--platform", strings.Join(both, ","), dir)
	})
	t.Run("BUILDKIT_SYNTAX names it too", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m > /machine\n"})
		out := l.mab("build", "--build-arg", "BUILDKIT_SYNTAX="+image, "-o", "-", dir)
		if out.code != 0 || !strings.Contains(out.stderr, "dockerfile@sha256:") {
			t.Errorf("exit code %d, or the frontend was not used:\n%s", out.code, out.stderr)
		}
	})
	t.Run("one that does not exist", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "# syntax=" + registry(t) + "/no/frontend\nFROM BASE\n"})
		l.refused(1, []string{"mab: error: ", registry(t) + "/no/frontend", "Dockerfile:1"}, "build", dir)
	})
}
