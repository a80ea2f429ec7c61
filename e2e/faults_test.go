// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// forever is what containers run that a test stops. It has children, one of them in a session of its own.
const forever = "sleep 86400"

// foreverContext is a context whose second RUN never ends, and finishContext one that has the first in common with it.
func (l *lab) foreverContext() string {
	return l.context(map[string]string{"Dockerfile": "FROM " + registry(l.t) + "/busybox\nRUN echo first > /first\nRUN " +
		forever + " & setsid " + forever + " & wait\n"})
}

func (l *lab) finishContext() string {
	return l.context(map[string]string{"Dockerfile": "FROM " + registry(l.t) + "/busybox\nRUN echo first > /first\nRUN echo second\n"})
}

// startForever starts such a build and returns when its RUN is under way for all platforms.
func (l *lab) startForever(platforms string, args ...string) *running {
	l.t.Helper()
	r := l.start(append([]string{"build", "--platform", platforms, l.foreverContext()}, args...)...)
	// A shell and its two children for each platform.
	want := 3 * len(strings.Split(platforms, ","))
	eventually(l.t, 20*time.Second, "the RUN is under way", func() bool { return len(l.containers(forever)) == want })
	return r
}

// mustFinish builds what has its first RUN in common with startForever, which must not be run again.
func (l *lab) mustFinish(platforms string) {
	l.t.Helper()
	out := l.start("build", "--platform", platforms, l.finishContext()).within(30 * time.Second)
	if out.code != 0 {
		l.t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	if !cached(out.stderr, "RUN echo first") {
		l.t.Errorf("the finished RUN was run again\n%s", out.stderr)
	}
}

// cached reports whether plain progress says that a step was taken from the cache: "#5 [2/3] RUN echo", then "#5 CACHED".
func cached(progress, step string) bool {
	match := regexp.MustCompile(`(?m)^(#\d+) .*` + regexp.QuoteMeta(step)).FindStringSubmatch(progress)
	return match != nil && strings.Contains(progress, "\n"+match[1]+" CACHED")
}

// gone fails the test if something of a killed solver is left.
func (l *lab) gone(f family) {
	l.t.Helper()
	if len(f.containers) == 0 || len(f.namespaces) == 0 {
		l.t.Fatal("no container was seen, so that this test shows nothing")
	}
	within(l.t, vanish, "left", f.left)
	within(l.t, vanish, "mounts of the state are left", func() string {
		return strings.Join(mountsOf(l.root), "\n")
	})
	within(l.t, vanish, "control groups are left", f.controlGroups)
	for path := range strings.Lines(f.controlGroups()) {
		_ = os.Remove(strings.TrimSpace(path))
	}
}

// mountsOf lists the mounts below a directory in every process's eyes.
func mountsOf(dir string) []string {
	var out []string
	for _, pid := range pids() {
		for _, line := range mounts(pid) {
			if strings.Contains(line, dir+"/") {
				out = append(out, line)
			}
		}
	}
	return out
}

// wantLost checks what a build says whose solver went away.
func wantLost(t testing.TB, out output) {
	t.Helper()
	if out.code != 4 || out.stdout != "" {
		t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
	}
	for _, text := range []string{"mab: error: building on local: the solver went away; the end of its log:", "solver ready", "mab: hint: run the same command again"} {
		if !strings.Contains(out.stderr, text) {
			t.Errorf("no %q in\n%s", text, out.stderr)
		}
	}
}

func kill(t testing.TB, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

func TestKilledSolver(t *testing.T) {
	l := newWatchedLab(t)
	for _, test := range []struct{ rule, platforms string }{
		{"native RUN", "linux/amd64"},
		{"emulated RUN", "linux/arm64"},
		{"both", "linux/amd64,linux/s390x"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			build := l.startForever(test.platforms)
			f := l.family()
			kill(t, l.solver(), syscall.SIGKILL)
			wantLost(t, build.within(vanish))
			l.gone(f)
			l.mustFinish(test.platforms)
			if left := l.stale(); left != "" {
				t.Errorf("the next solver left\n%s", left)
			}
		})
	}
	t.Run("half a layer of a base image", func(t *testing.T) {
		l, b := l.on(t), newBadRegistry(t)
		dir := l.context(map[string]string{"Dockerfile": "FROM " + b.base(8<<20) + "\nCOPY f /\n", "f": "file"})
		b.spoiled(b.onLayer(b.stall))
		build := l.start("build", "--platform", "linux/amd64", dir)
		eventually(t, 20*time.Second, "half of the layer is there", func() bool {
			sizes, _ := filepath.Glob(filepath.Join(l.root, "runc-*/content/ingest/*/data"))
			return slices.ContainsFunc(sizes, func(path string) bool {
				info, err := os.Stat(path)
				return err == nil && info.Size() >= 3<<20
			})
		})
		kill(t, l.solver(), syscall.SIGKILL)
		wantLost(t, build.within(vanish))
		b.spoiled(nil)
		l.must("build", "--platform", "linux/amd64", dir)
	})
	l.noPanic()
}

func TestKilledClient(t *testing.T) {
	l := newWatchedLab(t)
	for _, test := range []struct{ rule, platforms string }{
		{"native RUN", "linux/amd64"},
		{"emulated RUNs", "linux/arm64,linux/s390x"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			build := l.startForever(test.platforms)
			pid := l.solver()
			f := l.family()
			build.signal(syscall.SIGKILL)
			build.wait()
			l.cancelled(f)
			l.mustFinish(test.platforms)
			if l.solver() != pid {
				t.Error("the solver did not live on")
			}
		})
	}
	l.noPanic()
}

// cancelled fails the test if the solver goes on with a RUN that nobody waits for any more.
func (l *lab) cancelled(f family) {
	l.t.Helper()
	within(l.t, vanish, "containers go on", func() string {
		if left := l.containers(forever); len(left) > 0 {
			return fmt.Sprint(left)
		}
		return ""
	})
	within(l.t, vanish, "containers' states are left", l.stale)
	within(l.t, vanish, "control groups are left", f.controlGroups)
}

// A solver in a terminal is two processes. Whichever is killed, all is gone.
func TestKilledServe(t *testing.T) {
	l := newWatchedLab(t)
	for _, test := range []struct {
		rule string
		kill func(serve *running, build *running)
	}{
		{"the process in the terminal", func(serve, _ *running) { serve.signal(syscall.SIGKILL) }},
		{"its process group", func(serve, _ *running) { kill(t, -serve.cmd.Process.Pid, syscall.SIGKILL) }},
		{"solver and build at once", func(serve, build *running) {
			kill(t, -serve.cmd.Process.Pid, syscall.SIGKILL)
			build.signal(syscall.SIGKILL)
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			serve := l.foreground()
			build := l.startForever("linux/amd64")
			f := l.family()
			test.kill(serve, build)
			if out := build.within(vanish); out.code != 4 && out.code != -1 {
				t.Errorf("exit code %d\n%s", out.code, out.stderr)
			}
			serve.wait()
			l.gone(f)
			l.mustFinish("linux/amd64")
			l.must("serve", "--stop")
		})
	}
}

// A solver that does not answer must not hold who waits for it.
func TestHangingSolver(t *testing.T) {
	l := newWatchedLab(t)
	for _, test := range []struct {
		rule    string
		signals int
		limit   time.Duration
	}{
		{"interrupted once", 1, 8 * time.Second},
		{"interrupted twice", 2, time.Second},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			build := l.startForever("linux/amd64")
			pid := l.solver()
			// BuildKit's client waits 5 s for what its solver still has to say.
			kill(t, pid, syscall.SIGSTOP)
			defer kill(t, pid, syscall.SIGCONT)
			for range test.signals {
				build.signal(syscall.SIGINT)
				time.Sleep(200 * time.Millisecond) // two equal signals at once are one
			}
			began := time.Now()
			out := build.within(test.limit)
			t.Logf("it ended after %v", time.Since(began).Round(time.Millisecond))
			if out.code != 130 && (test.signals == 1 || out.code != -1) {
				t.Errorf("exit code %d\n%s", out.code, out.stderr)
			}
		})
		l.cancelled(family{})
	}
	t.Run("a new build can be interrupted, too", func(t *testing.T) {
		l := l.on(t)
		pid := l.solver()
		kill(t, pid, syscall.SIGSTOP)
		defer kill(t, pid, syscall.SIGCONT)
		build := l.start("build", l.scratch())
		time.Sleep(300 * time.Millisecond) // nothing shows that it waits
		build.signal(syscall.SIGINT)
		if out := build.within(5 * time.Second); out.code != 130 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	l.mustFinish("linux/amd64")
}
