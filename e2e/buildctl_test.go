// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool builds one of the programs of BuildKit's module, once for all tests.
func tool(t testing.TB, pkg string) string {
	t.Helper()
	path := filepath.Join(toolDir, filepath.Base(pkg))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	return path
}

func TestBuildctl(t *testing.T) {
	l := newLab(t)
	buildctl := tool(t, "github.com/moby/buildkit/cmd/buildctl")
	socket := "unix://" + filepath.Join(l.root, "solver.sock")
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		cmd := exec.Command(buildctl, append([]string{"--addr", socket}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("buildctl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	dir := l.context(map[string]string{"Dockerfile": "ARG BASE\nFROM ${BASE}\nRUN uname -m > /arch\n"})
	base := "BASE=" + registry(t) + "/busybox"
	// It starts the solver.
	l.must("build", "-q", "--platform", "linux/s390x", "--build-arg", base, dir)

	t.Run("the worker is listed with every platform that runs", func(t *testing.T) {
		if out := run(t, "debug", "workers"); !strings.Contains(out, "linux/amd64,") || !strings.Contains(out, "linux/s390x") {
			t.Errorf("workers:\n%s", out)
		}
	})
	t.Run("it builds, and finds what mab built in the cache", func(t *testing.T) {
		dest := filepath.Join(l.dir, "files")
		out := run(t, "build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context="+dir, "--local", "dockerfile="+dir,
			"--opt", "platform=linux/s390x", "--opt", "build-arg:"+base, "--output", "type=local,dest="+dest)
		if !strings.Contains(out, "CACHED") {
			t.Errorf("nothing was cached:\n%s", out)
		}
		if got := strings.TrimSpace(read(t, filepath.Join(dest, "arch"))); got != "s390x" {
			t.Errorf("uname -m = %q, want s390x", got)
		}
	})
	t.Run("the cache is counted, the history listed, and both are emptied", func(t *testing.T) {
		if out := run(t, "du"); !strings.Contains(out, "Total:") {
			t.Errorf("du:\n%s", out)
		}
		if out := run(t, "debug", "histories"); !strings.Contains(out, "dockerfile.v0") && strings.Count(out, "\n") < 2 {
			t.Errorf("histories:\n%s", out)
		}
		run(t, "prune", "--all")
		if out := run(t, "du"); !strings.Contains(out, "Total:\t\t0B") {
			t.Errorf("du after prune:\n%s", out)
		}
	})
}
