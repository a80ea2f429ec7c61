// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCacheLimits starts a solver on a full cache: it collects garbage a second after it starts, and after builds.
func TestCacheLimits(t *testing.T) {
	buildctl := tool(t, "github.com/moby/buildkit/cmd/buildctl")
	for _, limit := range [][]string{{"--cache-size", "1kB"}, {"--cache-age", "1ms"}} {
		t.Run(limit[0], func(t *testing.T) {
			l := newLab(t)
			// A base image counts as used when the last step on it goes, and outlives that.
			cached := func() bool {
				out, err := exec.Command(buildctl, "--addr", "unix://"+filepath.Join(l.root, "solver.sock"), "du", "-v").CombinedOutput()
				if err != nil {
					t.Fatalf("buildctl du: %v\n%s", err, out)
				}
				return strings.Contains(string(out), "head -c 1000000")
			}
			dir := l.context(map[string]string{"Dockerfile": "ARG BASE\nFROM ${BASE}\nRUN head -c 1000000 /dev/zero > /file\n"})
			l.must("build", "-q", "--build-arg", "BASE="+registry(t)+"/busybox", dir)
			if !cached() {
				t.Fatal("the step is not in the cache")
			}
			l.must("serve", "--stop")

			serve := l.start(append([]string{"serve"}, limit...)...)
			eventually(t, 10*time.Second, "the solver answers", func() bool {
				_, err := os.Stat(filepath.Join(l.root, "solver.sock"))
				return err == nil
			})
			eventually(t, 20*time.Second, "the step is gone from the cache", func() bool { return !cached() })
			l.must("serve", "--stop")
			serve.wait()
		})
	}
}
