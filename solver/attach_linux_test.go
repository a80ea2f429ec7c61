// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/solver"
)

// asNobody calls do as a plain user. User ids are the thread's, so that the rest of the test is left alone.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if os.Getuid() != 0 {
		do()
		return
	}
	done := make(chan unix.Errno)
	go func() {
		// The thread ends with the goroutine: nobody else ever gets it.
		runtime.LockOSThread()
		const nobody = 65534
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody)
		if errno == 0 {
			do()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatal(errno)
	}
}

func TestDefaultState(t *testing.T) {
	if os.Getuid() == 0 {
		got, err := solver.State{}.Resolve()
		if diff := cmp.Diff(solver.State{Root: "/var/lib/mab", Runtime: "/run/mab"}, got); err != nil || diff != "" {
			t.Errorf("of root: error %v; want -, got +:\n%s", err, diff)
		}
	}
	long := "/" + strings.Repeat("s", 100)
	for _, test := range []struct {
		rule, state, runtime string
		want                 solver.State
	}{
		{"the socket is beside the cache, whatever the session is", "/s", "/r", solver.State{Root: "/s/mab", Runtime: "/s/mab"}},
		{"without a session", "", "", solver.State{Root: "/home/me/.local/state/mab", Runtime: "/home/me/.local/state/mab"}},
		{"where a socket's path would be too long", long, "/r", solver.State{Root: long + "/mab", Runtime: "/r/mab"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Setenv("HOME", "/home/me")
			t.Setenv("XDG_STATE_HOME", test.state)
			t.Setenv("XDG_RUNTIME_DIR", test.runtime)
			asNobody(t, func() {
				got, err := solver.State{}.Resolve()
				if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
					t.Errorf("error %v; want -, got +:\n%s", err, diff)
				}
			})
		})
	}
}

func TestArgs(t *testing.T) {
	state := solver.State{Root: "/a", Runtime: "/b"}
	for _, test := range []struct {
		idle time.Duration
		want string
	}{{0, "15m0s"}, {time.Minute, "1m0s"}, {-1, "-1ns"}} {
		want := []string{"--root", "/a", "--runtime", "/b", "--idle", test.want, "--config="}
		if diff := cmp.Diff(want, solver.AttachConfig{Idle: test.idle}.Args(state)); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	}
}

func TestEnvironment(t *testing.T) {
	kept := []string{
		"PATH=/bin", "HOME=/root", "LANG=C", "TZ=UTC", "HTTPS_PROXY=http://p:1", "https_proxy=http://p:1", "no_proxy=", "SSL_CERT_FILE=/ca",
		"MAB_CACHE_SIZE=1GB", "GODEBUG=x=1",
	}
	dropped := []string{
		"AWS_SECRET_ACCESS_KEY=x", "GITHUB_TOKEN=x", "DOCKER_AUTH_CONFIG={}", "SSH_AUTH_SOCK=/s", "GOFLAGS=-x", "GODEBUGX=1", "PATHS=1",
		"XMAB_=1", "LD_PRELOAD=/x", "",
	}
	if diff := cmp.Diff(kept, solver.Environment(append(dropped, kept...))); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestWaitReady(t *testing.T) {
	for _, test := range []struct {
		rule string
		say  func(solver *os.File, interrupt func()) error
		want error
	}{
		{"the solver is ready", func(w *os.File, _ func()) error { _, err := w.WriteString("{}\n"); return err }, nil},
		{"the solver ended", func(w *os.File, _ func()) error { return w.Close() }, io.EOF},
		{"the build was interrupted", func(_ *os.File, interrupt func()) error { interrupt(); return nil }, os.ErrDeadlineExceeded},
	} {
		t.Run(test.rule, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = r.Close(), w.Close() }()
			if err := test.say(w, interrupt); err != nil {
				t.Fatal(err)
			}
			if err := solver.WaitReady(ctx, r); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// A solver that does not come up says why, with the mend.
func TestWaitForASolverThatFails(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	if _, err := w.WriteString(`{"error":"no runc","hint":"install it"}`); err != nil {
		t.Fatal(err)
	}
	err = solver.WaitReady(t.Context(), r)
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || err.Error() != "no runc" || hinted.Hint() != "install it" {
		t.Errorf("got %v", err)
	}
}

func TestOpenLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write := func(text string) {
		t.Helper()
		w, err := solver.OpenLog(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(w, text)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	sizes := func() (now, before int64) {
		if info, err := os.Stat(path); err == nil {
			now = info.Size()
		}
		if info, err := os.Stat(path + ".1"); err == nil {
			before = info.Size()
		}
		return now, before
	}
	write("one")
	write("two")
	if now, before := sizes(); now != 6 || before != 0 {
		t.Errorf("a log is continued: %d bytes now, %d before", now, before)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("error %v; got %v", err, info)
	}
	if err := os.Truncate(path, solver.MaxLogSize+1); err != nil {
		t.Fatal(err)
	}
	write("three")
	if now, before := sizes(); now != 5 || before != solver.MaxLogSize+1 {
		t.Errorf("a large log is begun anew: %d bytes now, %d before", now, before)
	}
}

func TestStop(t *testing.T) {
	dir := t.TempDir()
	state := solver.State{Root: dir, Runtime: dir}
	if err := solver.Stop(t.Context(), state); err != nil {
		t.Errorf("where no socket is: %v", err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: state.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	if err := solver.Stop(t.Context(), state); err != nil {
		t.Errorf("where nobody listens: %v", err)
	}
	if err := solver.Stop(t.Context(), solver.State{Root: dir + strings.Repeat("/d", 60)}); err == nil {
		t.Error("a path that cannot be")
	}
}
