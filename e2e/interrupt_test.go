// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interruptLimit is how long a build may take to end after an interrupt.
const interruptLimit = 5 * time.Second

// wantInterrupted checks how a build ends that was interrupted.
func wantInterrupted(t *testing.T, out output) {
	t.Helper()
	if out.code != 130 || out.stdout != "" {
		t.Errorf("exit code %d, stdout %q\n%s", out.code, out.stdout, out.stderr)
	}
	if !strings.Contains(out.stderr, "mab: error: interrupted") {
		t.Errorf("it does not say that it was interrupted\n%s", out.stderr)
	}
}

func TestInterruptedRun(t *testing.T) {
	l := newWatchedLab(t)
	for _, test := range []struct {
		rule, platforms string
		signal          syscall.Signal
	}{
		{"SIGINT, native", "linux/amd64", syscall.SIGINT},
		{"SIGINT, emulated", "linux/arm64,linux/s390x", syscall.SIGINT},
		{"SIGTERM", "linux/amd64", syscall.SIGTERM},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			ref := registry(t) + "/interrupted:latest"
			build := l.startForever(test.platforms, "-t", ref, "--push", "-o", "type=oci,dest=image.tar", "-o", "type=local,dest=files",
				"-o", "type=tar,dest=files.tar", "--iidfile", "id", "--metadata-file", "metadata.json")
			pid, f := l.solver(), l.family()
			build.signal(test.signal)
			began := time.Now()
			wantInterrupted(t, build.within(interruptLimit))
			l.cancelled(f)
			if took := time.Since(began); took > vanish+interruptLimit {
				t.Errorf("it took %v", took)
			}
			empty(t, l.dir)
			if exists(t, ref) {
				t.Error("the tag is there")
			}
			l.mustFinish(test.platforms)
			if l.solver() != pid {
				t.Error("the solver did not live on")
			}
		})
	}
	l.noPanic()
}

// A second interrupt ends the program at once, whatever it waits for.
func TestInterruptedTwice(t *testing.T) {
	l := newWatchedLab(t)
	b := newBadRegistry(t)
	b.spoiled(on("PUT", byTag, b.hang))
	build := l.start("build", "-t", b.host+"/app:v1", "--push", l.pushContext())
	eventually(t, 20*time.Second, "the registry is asked", func() bool { return b.asked(0, "PUT", byTag) })
	kill(t, l.solver(), syscall.SIGSTOP)
	defer kill(t, l.solver(), syscall.SIGCONT)
	build.signal(syscall.SIGINT)
	time.Sleep(200 * time.Millisecond) // two equal signals at once are one
	_ = build.cmd.Process.Signal(syscall.SIGINT)
	if out := build.within(time.Second); out.code != 130 && out.code != -1 {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
}

// An interrupt while the solver starts leaves a solver that works, or none.
func TestInterruptedStart(t *testing.T) {
	l := newWatchedLab(t)
	for _, test := range []struct {
		rule   string
		signal syscall.Signal
		when   func() bool
	}{
		{"SIGINT when the solver is asked for", syscall.SIGINT, func() bool { return l.has("start.lock") }},
		{"SIGINT when it was started", syscall.SIGINT, func() bool { return l.has("solver.lock") }},
		{"SIGINT when it listens", syscall.SIGINT, func() bool { return l.has("solver.sock") }},
		{"SIGKILL when it was started", syscall.SIGKILL, func() bool { return l.has("solver.lock") }},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			build := l.start("build", l.scratch())
			for !test.when() {
				time.Sleep(time.Millisecond)
			}
			_ = build.cmd.Process.Signal(test.signal)
			if out := build.within(interruptLimit); out.code != 130 && out.code != 0 && out.code != -1 {
				t.Errorf("exit code %d\n%s", out.code, out.stderr)
			}
			if out := l.start("build", l.scratch()).within(20 * time.Second); out.code != 0 {
				t.Errorf("the next build: exit code %d\n%s", out.code, out.stderr)
			}
			l.must("serve", "--stop")
			for _, name := range []string{"start.lock", "solver.lock"} {
				if err := os.Remove(filepath.Join(l.root, name)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	l.noPanic()
}

// has reports whether a file is there in the lab's directory.
func (l *lab) has(name string) bool {
	_, err := os.Lstat(filepath.Join(l.root, name))
	return err == nil
}
