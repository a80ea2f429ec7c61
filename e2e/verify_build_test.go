// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mixed is a Dockerfile that puts a program of amd64 into the image of every platform.
func mixed(t testing.TB, more string) string {
	base := registry(t) + "/busybox"
	return "FROM --platform=linux/amd64 " + base + " AS tools\nFROM " + base + "\nWORKDIR /srv\n" +
		"COPY --from=tools /bin/busybox /opt/tool\nRUN true\n" + more
}

// refusedBuild fails the test unless a build ended because linux/arm64 has the tool of mixed, and was told how that came.
func refusedBuild(t testing.TB, out output) {
	t.Helper()
	if out.code != 5 {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	for _, want := range []string{
		"/opt/tool", "amd64", "linux/arm64", "COPY /bin/busybox /opt/tool", "Dockerfile:4",
		"mab: error: checking the result: linux/arm64 has a program that it does not run\n", "$TARGETARCH", "--verify-exempt",
	} {
		if !strings.Contains(out.stderr, want) {
			t.Errorf("it does not say %q:\n%s", want, out.stderr)
		}
	}
	if out.stdout != "" {
		t.Errorf("standard output %q", out.stdout)
	}
}

func TestBuildVerify(t *testing.T) {
	l := newLab(t)
	const both = "linux/amd64,linux/arm64"
	dir := l.context(map[string]string{"Dockerfile": mixed(t, "")})
	ref := registry(t) + "/verify/app:"
	build := func(l *lab, more ...string) output {
		return l.mab(append([]string{"build", "--platform", both}, append(more, dir)...)...)
	}
	t.Run("a push is refused, and nothing is tagged", func(t *testing.T) {
		l := l.on(t)
		refusedBuild(t, build(l, "-t", ref+"strict", "--push"))
		if exists(t, ref+"strict") {
			t.Error("it is tagged")
		}
	})
	t.Run("a layout is not written", func(t *testing.T) {
		l := l.on(t)
		dest := filepath.Join(l.dir, "layout")
		refusedBuild(t, build(l, "-o", "type=oci,tar=false,dest="+dest))
		refusedBuild(t, build(l, "-o", "type=oci,dest="+dest+".tar"))
		left, err := os.ReadDir(l.dir)
		if err != nil || len(left) > 0 {
			t.Errorf("there is %v, %v", left, err)
		}
	})
}
