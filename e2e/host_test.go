// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// binfmt is all of the host that an emulator could be registered in.
type binfmt struct {
	// Mounts are the mounted instances, as this process sees them.
	Mounts []string
	// Handlers are the files of the host's instance with their content. It is read through a mount of a namespace of its own, so that it is
	// seen if the host has it mounted nowhere: the kernel has one instance for each user namespace.
	Handlers string
}

func hostBinfmt(t testing.TB) binfmt {
	t.Helper()
	var out binfmt
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		if strings.Contains(line, " - binfmt_misc ") {
			out.Mounts = append(out.Mounts, line)
		}
	}
	out.Handlers = inHostBinfmt(t, `for f in *; do echo "== $f"; test "$f" = register || cat "$f"; done`)
	if !strings.Contains(out.Handlers, "== status\nenabled") {
		t.Fatalf("this is no instance of binfmt_misc:\n%s", out.Handlers)
	}
	return out
}

// inHostBinfmt runs a line of shell in the host's instance, which it mounts in a mount namespace of its own.
func inHostBinfmt(t testing.TB, line string) string {
	t.Helper()
	return outputOf(t, exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec", "mount -t binfmt_misc binfmt_misc /mnt; cd /mnt; "+line))
}

// TestHostStaysAsItWas: emulators are registered for the solver alone, whether the host has handlers or not.
func TestHostStaysAsItWas(t *testing.T) {
	need(t, "unshare", "mount")
	t.Run("with the handlers it has", hostStays)
	t.Run("with one more", func(t *testing.T) {
		// It is for files that end in .mab-e2e, of which there are none. An instance that is mounted nowhere forgets its
		// handlers, so that this one goes with the process that holds it.
		holder := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec",
			"mount -t binfmt_misc binfmt_misc /mnt; echo ':mab-e2e:E::mab-e2e::/bin/false:' > /mnt/register; echo ready; exec sleep 600")
		holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		stdout, err := holder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = holder.Process.Kill()
			_ = holder.Wait()
		})
		if _, err := io.ReadFull(stdout, make([]byte, len("ready"))); err != nil {
			t.Fatalf("holding a handler: %v", err)
		}
		if got := hostBinfmt(t).Handlers; !strings.Contains(got, "== mab-e2e\nenabled") {
			t.Fatalf("it was not registered:\n%s", got)
		}
		hostStays(t)
	})
}

// halt is a step of a build that waits: RUN wget -q -O FILE URL.
type halt struct {
	URL              string
	reached, goingOn chan struct{}
}

// newHalt makes a step that waits for release, once.
func newHalt(t *testing.T) *halt {
	h := &halt{reached: make(chan struct{}), goingOn: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(h.reached)
		<-h.goingOn
		_, _ = w.Write([]byte("go on"))
	}))
	t.Cleanup(server.Close)
	h.URL = server.URL
	return h
}

// wait returns when the build is at the step, and fails the test if it never is.
func (h *halt) wait(build *running) {
	build.t.Helper()
	select {
	case <-h.reached:
	case <-time.After(time.Minute):
		h.release()
		build.t.Fatalf("the step was not reached:\n%s", build.wait().stderr)
	}
}

func (h *halt) release() { close(h.goingOn) }

func hostStays(t *testing.T) {
	before := hostBinfmt(t)
	const foreign = "linux/s390x"
	l := newLab(t)

	step := newHalt(t)
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN wget -q -O /answer " + step.URL + " && uname -m > /machine\n"})
	build := l.start("build", "--platform", foreign, "-o", "files", dir)
	step.wait(build)
	t.Run("while a step is emulated", func(t *testing.T) {
		if diff := cmp.Diff(before, hostBinfmt(t)); diff != "" {
			t.Errorf("the host (-before +now):\n%s", diff)
		}
		program := filepath.Join(t.TempDir(), "busybox")
		busybox := l.on(t).files(foreign, map[string]string{"Dockerfile": "FROM BASE\n"})["usr/bin/busybox"]
		if err := os.WriteFile(program, busybox.content, 0o755); err != nil {
			t.Fatal(err)
		}
		err := exec.CommandContext(t.Context(), program, "true").Run()
		if registered := strings.Contains(before.Handlers, "s390x"); !registered && !errors.Is(err, syscall.ENOEXEC) {
			t.Errorf("running a program of %s on the host: %v", foreign, err)
		}
	})
	step.release()
	if out := build.wait(); out.code != 0 {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	if got := strings.TrimSpace(read(t, filepath.Join(l.dir, "files/machine"))); got != "s390x" {
		t.Errorf("the step ran on %q", got)
	}
	for _, step := range []struct {
		rule string
		do   func()
	}{
		{"with a solver that waits", func() {}},
		{"after emulation ls", func() { l.must("emulation", "ls") }},
		{"after the solver's end", func() { l.must("serve", "--stop") }},
	} {
		t.Run(step.rule, func(t *testing.T) {
			step.do()
			if diff := cmp.Diff(before, hostBinfmt(t)); diff != "" {
				t.Errorf("the host (-before +now):\n%s", diff)
			}
		})
	}
}

// support is what the tests read of emulation ls --json.
type support struct {
	Platform, How, Instance, Flags, Version, Probe, Problem, Mend string
}

func TestEmulationList(t *testing.T) {
	l := newLab(t)
	list := decode[[]support](t, l.must("emulation", "ls", "--json"))
	table := l.must("emulation", "ls")
	for _, m := range machines {
		t.Run(m.platform, func(t *testing.T) {
			i := slices.IndexFunc(list, func(s support) bool { return s.Platform == m.platform })
			if i < 0 {
				t.Fatalf("it is not listed: %+v", list)
			}
			want := support{Platform: m.platform, How: "native", Probe: "ok"}
			if got := list[i]; !m.native() {
				want = support{Platform: m.platform, How: "emulated", Probe: "ok", Instance: "private", Flags: got.Flags, Version: got.Version}
				// Without P programs lose argv[0], without F they need QEMU in the image, without C setuid programs do not work.
				if !strings.Contains(got.Flags, "P") || !strings.Contains(got.Flags, "F") || !strings.Contains(got.Flags, "C") {
					t.Errorf("flags %q", got.Flags)
				}
				qemu := outputOf(t, m.command(t, "--version"))
				if got.Version == "" || !strings.Contains(qemu, "version "+got.Version) {
					t.Errorf("version %q, QEMU itself says:\n%s", got.Version, qemu)
				}
			}
			if diff := cmp.Diff(want, list[i]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var fields []string
			for line := range strings.Lines(table) {
				if f := strings.Fields(line); len(f) > 0 && f[0] == m.platform {
					fields = f
				}
			}
			if len(fields) < 6 || fields[1] != want.How || fields[5] != "ok" {
				t.Errorf("in the table: %v", fields)
			}
		})
	}
	t.Run("what does not run says why and what to do", func(t *testing.T) {
		for _, s := range list {
			if runs := s.How != "none"; !runs && (s.Problem == "" || s.Mend == "") || runs && s.Probe != "ok" {
				t.Errorf("%+v", s)
			}
		}
	})
	t.Run("no solver is started for it", func(t *testing.T) {
		if _, err := os.Stat(filepath.Join(l.root, "solver.sock")); err == nil {
			t.Error("a solver was started")
		}
	})
}
