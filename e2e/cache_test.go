// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
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

// cacheReport is what mab cache prints with --json.
type cacheReport struct {
	Records []struct {
		ID, Description string
	}
	Total int64
	State struct {
		Root  string
		Total int64
	}
}

// has returns the id of the record of a step; empty if there is none.
func (r cacheReport) has(step string) string {
	for _, record := range r.Records {
		if strings.HasSuffix(record.Description, step) {
			return record.ID
		}
	}
	return ""
}

// TestCacheCommands shows what the cache keeps, removes some of it and at last all, and builds in between.
func TestCacheCommands(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": "ARG BASE\nFROM ${BASE}\n" +
		"RUN --mount=type=cache,target=/kept head -c 300000 /dev/zero > /kept/file && head -c 200000 /dev/zero > /first\n" +
		"RUN head -c 100000 /dev/zero > /second\n"})
	build := func() string {
		return l.mab("build", "--progress=plain", "--build-arg", "BASE="+registry(t)+"/busybox", dir).stderr
	}
	build()
	du := func(t *testing.T, args ...string) cacheReport {
		t.Helper()
		return decode[cacheReport](t, l.must(append([]string{"cache", "du", "--json"}, args...)...))
	}
	prune := func(t *testing.T, args ...string) cacheReport {
		t.Helper()
		return decode[cacheReport](t, l.must(append([]string{"cache", "prune", "--force", "--json"}, args...)...))
	}
	first, second := du(t).has("> /first"), du(t).has("> /second")
	if first == "" || second == "" {
		t.Fatalf("the steps are not in the cache: %+v", du(t))
	}
	t.Run("filters choose", func(t *testing.T) {
		for _, test := range []struct {
			filter []string
			want   string
		}{
			{[]string{"id=" + first}, first},
			{[]string{"description~=/second$", "type=regular"}, second},
			{[]string{"parents=" + first}, second},
			{[]string{"parents=" + first, "type=frontend"}, ""},
			{[]string{"until=1h"}, ""},
		} {
			var args []string
			for _, f := range test.filter {
				args = append(args, "--filter", f)
			}
			var ids []string
			for _, r := range du(t, args...).Records {
				ids = append(ids, r.ID)
			}
			if got := strings.Join(ids, " "); got != test.want {
				t.Errorf("%q: got %q, want %q", test.filter, got, test.want)
			}
		}
	})
	t.Run("a cache mount goes by its type, the steps stay", func(t *testing.T) {
		removed := prune(t, "--filter", "type=exec.cachemount")
		if len(removed.Records) != 1 || !strings.HasPrefix(removed.Records[0].Description, "cached mount /kept") || removed.Total < 300_000 {
			t.Errorf("removed %+v", removed)
		}
		if out := build(); strings.Count(out, "CACHED") < 2 {
			t.Errorf("steps ran again:\n%s", out)
		}
	})
	t.Run("a step goes by its parent, and runs again", func(t *testing.T) {
		if removed := prune(t, "--filter", "parents="+first); len(removed.Records) != 1 || removed.has("> /second") != second {
			t.Errorf("removed %+v", removed)
		}
		if out := build(); strings.Count(out, "CACHED") != 1 {
			t.Errorf("not just one step was cached:\n%s", out)
		}
	})
	t.Run("a limit removes the longest unused only", func(t *testing.T) {
		before := du(t).Total
		prune(t, "--max-used-space", fmt.Sprint(before-1))
		if after := du(t).Total; after >= before || after == 0 {
			t.Errorf("%d bytes before, %d after", before, after)
		}
		if removed := prune(t, "--reserved-space", "100gb"); len(removed.Records) > 0 {
			t.Errorf("removed what may stay: %+v", removed)
		}
	})
	t.Run("everything goes, and its bytes", func(t *testing.T) {
		before := du(t, "--verbose").State
		if before.Root != l.root || before.Total < 400_000 {
			t.Errorf("the state is %+v", before)
		}
		prune(t, "--all")
		if left := du(t); len(left.Records) > 0 {
			t.Errorf("left %+v", left)
		}
		eventually(t, 10*time.Second, "the bytes are gone from the disk", func() bool {
			return du(t, "--verbose").State.Total < before.Total-400_000
		})
	})
	t.Run("a solver is started for what is there", func(t *testing.T) {
		build()
		l.must("serve", "--stop")
		if du(t).has("> /first") == "" {
			t.Error("the step is not in the cache")
		}
	})
}
