// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/sandbox"
)

func TestIdentity(t *testing.T) {
	type ids = []syscall.SysProcIDMap
	for _, test := range []struct {
		rule, text string
		want       ids
		err        string
	}{
		{"id 0 stands alone, so that nobody takes it for the host's", "         0          0 4294967295\n",
			ids{{Size: 1}, {ContainerID: 1, HostID: 1, Size: 4294967294}}, ""},
		{"the outside does not matter", "0 1000 1\n1 100000 65536\n",
			ids{{Size: 1}, {ContainerID: 1, HostID: 1, Size: 65536}}, ""},
		{"one id", "0 1000 1\n", ids{{Size: 1}}, ""},
		{"a map without id 0", "5 5 10\n", ids{{ContainerID: 5, HostID: 5, Size: 10}}, ""},
		{"no map", "", nil, ""},
		{"two numbers", "0 0\n", nil, `reading id map line "0 0\n": want three numbers`},
		{"no number first", "x 0 1\n", nil, `reading id map: strconv.Atoi: parsing "x": invalid syntax`},
		{"no number last", "0 0 x\n", nil, `reading id map: strconv.Atoi: parsing "x": invalid syntax`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := sandbox.IdentityMap(test.text)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Fatalf("got error %v, want %s", err, test.err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}

// needsRoot skips a test that a plain user cannot run. It fails where nothing may be skipped.
func needsRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("MAB_E2E") == "all":
		t.Fatal("needs root")
	default:
		t.Skip("needs root")
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func start(t *testing.T, cfg sandbox.Config) *exec.Cmd {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	cfg.Stderr = os.Stderr
	cmd, err := sandbox.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_, _ = cmd.Process.Kill(), cmd.Wait()
		}
	})
	return cmd
}

func TestInside(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	outside, err := see(dir)
	if err != nil {
		t.Fatal(err)
	}
	stdin, goOn := pipe(t)
	tells, stdout := pipe(t)
	cmd := start(t, sandbox.Config{Args: []string{dir}, Env: roleOf("look"), Stdin: stdin, Stdout: stdout})
	_ = stdout.Close()
	var inside view
	if err := json.NewDecoder(tells).Decode(&inside); err != nil {
		t.Fatal(err)
	}
	// While it runs: a mount made inside must not be seen here.
	if now, err := see(dir); err != nil || now.Mounted {
		t.Errorf("error %v; a mount of the sandbox is outside, too: %t", err, now.Mounted)
	}
	if list, err := filepath.Glob(dir + "/*"); err != nil || len(list) > 0 {
		t.Errorf("error %v; outside there is %q", err, list)
	}
	_ = goOn.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}

	for name, ns := range inside.Namespaces {
		if own := ns != outside.Namespaces[name]; own != (name != "net") {
			t.Errorf("a %s namespace of its own: %t", name, own)
		}
	}
	inside.Namespaces = nil
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	caps, err := strconv.Atoi(strings.TrimSpace(string(last)))
	if err != nil {
		t.Fatal(err)
	}
	want := view{
		Pid: 1, Inside: true, OwnUser: true, Processes: []int{1}, Mounted: true,
		Caps: fmt.Sprintf("%016x", uint64(1)<<(caps+1)-1),
		IDs:  "0 0 1 1 1 4294967294",
	}
	if outside.IDs != "0 0 4294967295" {
		want.IDs = inside.IDs // this test runs in a user namespace itself
	}
	if diff := cmp.Diff(want, inside); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if outside.Inside || outside.OwnUser {
		t.Error("the test itself says that it is in a sandbox")
	}
}

func TestStart(t *testing.T) {
	t.Run("a program that is not there", func(t *testing.T) {
		cmd, err := sandbox.Start(sandbox.Config{Path: "/nonexistent/program"})
		if cmd != nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("got %v, %v", cmd, err)
		}
		if !strings.HasPrefix(err.Error(), "starting in namespaces: ") {
			t.Errorf("got %q", err)
		}
	})
	for _, test := range []struct{ rule, role, want string }{
		{"with a user namespace", "tell", "inside true, own user true\n"},
		{"without one where the kernel refuses it", "refuse", "inside true, own user false\n"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			needsRoot(t)
			tells, stdout := pipe(t)
			cmd := start(t, sandbox.Config{Args: []string{t.TempDir()}, Env: roleOf(test.role), Stdout: stdout})
			_ = stdout.Close()
			got, err := io.ReadAll(tells)
			if err := errors.Join(err, cmd.Wait()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// subreaper lets the test inherit the processes of its children, until it ends.
func subreaper(t *testing.T) {
	t.Helper()
	set := func(on uintptr) {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, on, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	set(1)
	t.Cleanup(func() { set(0) })
}

func TestDetach(t *testing.T) {
	needsRoot(t)
	subreaper(t)
	for _, test := range []struct {
		rule, echo string
		args       []string
		killed     bool
	}{
		{"a sandbox dies with its parent", "", nil, true},
		{"a detached one does not", "ping", []string{"detach"}, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			stdin, send := pipe(t)
			hear, stdout := pipe(t)
			parent := exec.CommandContext(t.Context(), "/proc/self/exe", test.args...)
			parent.Env, parent.ExtraFiles, parent.Stderr = roleOf("parent"), []*os.File{stdin, stdout}, os.Stderr
			told, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			_, _ = stdin.Close(), stdout.Close()
			line, err := bufio.NewReader(told).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			session, err := unix.Getsid(pid)
			if err != nil || (session == pid) == test.killed {
				t.Errorf("error %v; process %d is in session %d", err, pid, session)
			}
			_, _ = parent.Process.Kill(), parent.Wait()
			_, _ = send.WriteString("ping")
			_ = send.Close()
			echo, err := io.ReadAll(hear)
			if err != nil || string(echo) != test.echo {
				t.Errorf("error %v; got %q, want %q", err, echo, test.echo)
			}
			var status unix.WaitStatus
			if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
				t.Fatal(err)
			}
			if killed := status.Signaled() && status.Signal() == unix.SIGKILL; killed != test.killed {
				t.Errorf("status %#x, want killed: %t", status, test.killed)
			}
		})
	}
}

func TestDescendantsEndWithProcessOne(t *testing.T) {
	needsRoot(t)
	hear, held := pipe(t)
	cmd := start(t, sandbox.Config{Env: roleOf("family"), Extra: []*os.File{held}})
	_ = held.Close()
	lines := bufio.NewReader(hear)
	for range 2 {
		if line, err := lines.ReadString('\n'); err != nil || line != "here\n" {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	_, _ = cmd.Process.Kill(), cmd.Wait()
	// The pipe ends with the last process that holds it.
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
}
