// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// within waits for the end of a command and fails the test if it takes longer than the limit.
func (r *running) within(limit time.Duration) output {
	r.t.Helper()
	began := time.Now()
	timer := time.AfterFunc(limit, r.cancel)
	defer timer.Stop()
	out := r.wait()
	if took := time.Since(began); took > limit {
		r.t.Fatalf("mab %s did not end within %v\n%s", strings.Join(r.cmd.Args[1:], " "), limit, out.stderr)
	}
	return out
}

func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// foreground starts a solver as a user does in a terminal, and waits until it listens.
func (l *lab) foreground(args ...string) *running {
	l.t.Helper()
	r := l.start(append([]string{"serve"}, args...)...)
	eventually(l.t, 20*time.Second, "the solver listens", func() bool { return l.solver() != 0 })
	return r
}

// starts counts how often a solver came up by itself.
func (l *lab) starts() int {
	log, _ := os.ReadFile(filepath.Join(l.root, "solver.log"))
	return strings.Count(string(log), "solver ready")
}

// noPanic fails the test if the log of the lab's solver tells of one, or of a race.
func (l *lab) noPanic() {
	l.t.Helper()
	log, _ := os.ReadFile(filepath.Join(l.root, "solver.log"))
	for _, word := range []string{"panic:", "DATA RACE", "fatal error:", "goroutine 1 ["} {
		if at := strings.Index(string(log), word); at >= 0 {
			l.t.Errorf("the solver's log has %q\n%s", word, log[max(0, at-500):min(len(log), at+3000)])
		}
	}
}

// scratch is a context whose build runs nothing and pulls nothing.
func (l *lab) scratch() string {
	return l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "file"})
}

func TestStartsAtOnceMakeOneSolver(t *testing.T) {
	for _, n := range []int{2, 8} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			l := newWatchedLab(t)
			var all []*running
			for range n {
				all = append(all, l.start("build", l.scratch()))
			}
			for _, r := range all {
				if out := r.within(time.Minute); out.code != 0 {
					t.Errorf("exit code %d\n%s", out.code, out.stderr)
				}
			}
			if got := l.starts(); got != 1 {
				t.Errorf("%d solvers were started", got)
			}
			if got := l.traces(); len(got) != 1 {
				t.Errorf("processes: %q", got)
			}
			l.noPanic()
		})
	}
}

// Each of two builds waits in a RUN for the other one, in a cache mount that a solver's containers share.
func TestTwoBuildsShareOneSolver(t *testing.T) {
	l := newWatchedLab(t)
	build := func(own, other, platform string) *running {
		run := fmt.Sprintf("touch /m/%s; for i in $(seq 300); do test -e /m/%s && exit 0; sleep 0.1; done; exit 1", own, other)
		return l.start("build", "--platform", platform, l.context(map[string]string{
			"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN --mount=type=cache,id=meet,target=/m " + run + "\n",
		}))
	}
	for _, r := range []*running{build("a", "b", "linux/amd64"), build("b", "a", "linux/arm64")} {
		if out := r.within(time.Minute); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	}
	if got := l.starts(); got != 1 {
		t.Errorf("%d solvers were started", got)
	}
	l.noPanic()
}

// Eight builds of the same, all at once, push to one reference: each must get the same digest, and none may fail.
func TestManyBuildsOfTheSame(t *testing.T) {
	l := newWatchedLab(t)
	ref := registry(t) + "/same:latest"
	dir := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN date > /built\n"})
	var wg sync.WaitGroup
	results := make([]output, 8)
	for i := range results {
		r := l.start("build", "--platform", "linux/amd64,linux/arm64", "--provenance=false", "-t", ref, "--push", dir)
		wg.Go(func() { results[i] = r.wait() })
	}
	wg.Wait()
	for _, out := range results {
		if out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		} else if out.stdout != results[0].stdout {
			t.Errorf("%q and %q", out.stdout, results[0].stdout)
		}
	}
	l.noPanic()
}

func TestServe(t *testing.T) {
	l := newWatchedLab(t)
	serve := l.foreground()
	pid := l.solver()
	t.Run("a build attaches to it", func(t *testing.T) {
		l := l.on(t)
		l.must("build", l.scratch())
		if l.starts() != 0 || l.solver() != pid {
			t.Error("the build started another solver")
		}
	})
	t.Run("the socket is its owner's alone", func(t *testing.T) {
		info, err := os.Lstat(filepath.Join(l.root, "solver.sock"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
	})
	t.Run("a second one on the same root says so", func(t *testing.T) {
		l := l.on(t)
		out := l.start("serve").within(8 * time.Second)
		if out.code != 1 || !strings.Contains(out.stderr, "mab: error: another solver is using \""+l.root) || !strings.Contains(out.stderr, "mab: hint: ") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		l.must("build", l.scratch())
		if l.solver() != pid {
			t.Error("the first one is gone")
		}
	})
	t.Run("SIGTERM ends it and leaves no socket", func(t *testing.T) {
		l := l.on(t)
		f := l.family()
		serve.signal(syscall.SIGTERM)
		if out := serve.within(10 * time.Second); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		within(t, vanish, "left", f.left)
		if l.has("solver.sock") {
			t.Error("the socket is still there")
		}
	})
	t.Run("idle, it ends by itself and leaves no socket", func(t *testing.T) {
		l := l.on(t)
		serve := l.start("serve", "--idle", "1s")
		if out := serve.within(10 * time.Second); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		if l.has("solver.sock") {
			t.Error("the socket is still there")
		}
	})
	t.Run("not idle while a build runs", func(t *testing.T) {
		l := l.on(t)
		serve := l.foreground("--idle", "500ms")
		l.must("build", l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN sleep 1.5\n"}))
		if out := serve.within(10 * time.Second); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
}

func TestServeStop(t *testing.T) {
	l := newWatchedLab(t)
	t.Run("nothing runs", func(t *testing.T) {
		l := l.on(t)
		if out := l.mab("serve", "--stop"); out.code != 0 || out.stderr != "" {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("a build runs", func(t *testing.T) {
		l := l.on(t)
		build := l.startForever("linux/amd64")
		f := l.family()
		if out := l.start("serve", "--stop").within(10 * time.Second); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		within(t, vanish, "left", f.left)
		within(t, vanish, "control groups are left", f.controlGroups)
		if l.has("solver.sock") {
			t.Error("the socket is still there")
		}
		if out := build.within(vanish); out.code != 4 || !strings.Contains(out.stderr, "mab: error: building on local: the solver went away") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("the next build starts it again", func(t *testing.T) {
		l := l.on(t)
		l.mustFinish("linux/amd64")
		l.noPanic()
	})
}
