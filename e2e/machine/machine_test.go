// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/machine"
)

// build returns the image, or skips the test where it cannot be made or run; where everything must run it fails instead.
func build(t *testing.T) machine.Image {
	t.Helper()
	for _, program := range []string{"qemu-system-aarch64", "apt-get", "dpkg-deb", "/sbin/mke2fs"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("MAB_E2E") == "all" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	image, err := machine.Build(t.Context(), machine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestPortIn(t *testing.T) {
	const head = "Hub -1 (n):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
	for _, test := range []struct {
		rule, table string
		want        int
		fails       bool
	}{
		{"the forwarded port", head + "  TCP[HOST_FORWARD]  12       127.0.0.1 38073       10.0.2.15    22     0     0\r\n", 38073, false},
		{"a connection is none", head + "  TCP[ESTABLISHED]  12       127.0.0.1 38073       10.0.2.15    22     0     0\r\n", 0, true},
		{"no row", head, 0, true},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := machine.PortIn(test.table)
			if got != test.want || (err != nil) != test.fails {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	args := []string{"", "a b", `it's`, `$HOME "x" \`, "line\nline", "*", "''"}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", machine.Quote(append([]string{"printf", `%s\0`}, args...))).Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(args, strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMachine(t *testing.T) {
	image := build(t)
	m, err := machine.Start(t.Context(), image, machine.StartConfig{Files: []machine.File{{From: "boot.sh", To: "/opt/seed/boot"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(m.Console())
		}
	})
	is := func(t *testing.T, want machine.Output, args ...string) {
		t.Helper()
		got, err := m.SSH(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", args, diff)
		}
	}
	t.Run("a program's arguments, streams and exit code", func(t *testing.T) {
		is(t, machine.Output{Stdout: "a  'b' $HOME\n", Stderr: "no\n", Code: 3}, "sh", "-c", `echo "$0"; echo no >&2; exit 3`, "a  'b' $HOME")
		is(t, machine.Output{Code: 137}, "sh", "-c", "kill -9 $$")
		is(t, machine.Output{Stdout: "aarch64\n"}, "uname", "-m")
	})
	t.Run("what a node needs", func(t *testing.T) {
		is(t, machine.Output{Stdout: "overlay binfmt_misc cgroup2 \n"}, "sh", "-c",
			`for f in overlay binfmt_misc cgroup2; do grep -qw $f /proc/filesystems && printf '%s ' $f; done; echo`)
		is(t, machine.Output{}, "sh", "-c", "! command -v runc && qemu-x86_64 --version >/dev/null && qemu-arm --version >/dev/null")
		is(t, machine.Output{Stdout: "0 0 1\n"}, "sh", "-c", "unshare -r cat /proc/self/uid_map | xargs")
	})
	t.Run("files that it was given", func(t *testing.T) {
		script, err := os.ReadFile("boot.sh")
		if err != nil {
			t.Fatal(err)
		}
		is(t, machine.Output{Stdout: string(script)}, "cat", "/opt/seed/boot")
	})
	t.Run("files and directories", func(t *testing.T) { copied(t, m, is) })
	t.Run("this host's loopback", func(t *testing.T) { reached(t, m, is) })
	t.Run("OpenSSH's client knows it and is let in", func(t *testing.T) { loggedIn(t, m) })
	t.Run("it ends with Close", func(t *testing.T) {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if alive(m.Pid()) {
			t.Errorf("process %d is there", m.Pid())
		}
		if _, err := m.SSH(t.Context(), "true"); err == nil || !strings.Contains(err.Error(), "the machine is gone") {
			t.Errorf("running a program afterwards: %v", err)
		}
	})
}

func copied(t *testing.T, m *machine.Machine, is func(*testing.T, machine.Output, ...string)) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"program": 0o755, "data": 0o640} {
		// WriteFile's mode is cut by the umask.
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{dir: "/opt/a/all", filepath.Join(dir, "program"): "/opt/b/renamed"} {
		if err := m.Copy(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
	}
	is(t, machine.Output{Stdout: "640 0 /opt/a/all/data\n755 0 /opt/a/all/program\n755 0 /opt/b/renamed\n"},
		"sh", "-c", "find /opt/a /opt/b -type f | sort | xargs stat -c '%a %u %n'")
	is(t, machine.Output{Stdout: "program"}, "cat", "/opt/b/renamed")
	if err := m.Copy(t.Context(), filepath.Join(dir, "data"), "/proc/no"); err == nil {
		t.Error("a file that cannot be written: no error")
	}
}

func reached(t *testing.T, m *machine.Machine, is func(*testing.T, machine.Output, ...string)) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	defer server.Close()
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	is(t, machine.Output{Stdout: "/direct"}, "wget", "-q", "-O", "-", "http://10.0.2.2:"+port+"/direct")
	if err := m.Forward("127.0.0.1:5000", server.Listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	is(t, machine.Output{Stdout: "/forwarded"}, "wget", "-q", "-O", "-", "http://localhost:5000/forwarded")
}

func loggedIn(t *testing.T, m *machine.Machine) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"key": string(m.ClientKey()), "known": m.KnownHosts()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := strings.Cut(m.Addr(), ":")
	out, err := exec.CommandContext(t.Context(), "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile="+filepath.Join(dir, "known"), "-i", filepath.Join(dir, "key"), "-p", port, "root@127.0.0.1", "uname -m").CombinedOutput()
	if err != nil || string(out) != "aarch64\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// childOf makes the test binary a program that starts a machine and waits.
const childOf = "MAB_TEST_MACHINE_CHILD"

// TestChild is the program that TestDeath kills.
func TestChild(t *testing.T) {
	if os.Getenv(childOf) == "" {
		t.Skip("this is for TestDeath")
	}
	m, err := machine.Start(t.Context(), build(t), machine.StartConfig{})
	t.Fatal(m, err) // It is killed before.
}

func TestDeath(t *testing.T) {
	build(t)
	program := exec.Command(os.Args[0], "-test.run=^TestChild$")
	program.Env = append(os.Environ(), childOf+"=1")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	eventually(t, "QEMU runs", func() bool {
		pid = qemuBelow(program.Process.Pid)
		return pid != 0
	})
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait() // It was killed.
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	eventually(t, "QEMU is gone", func() bool { return !alive(pid) })
}

// qemuBelow returns the QEMU that a process has started, 0 if there is none.
func qemuBelow(parent int) int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, list := range lists {
		content, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(content)) {
			exe, _ := os.Readlink("/proc/" + child + "/exe")
			if pid := 0; strings.Contains(exe, "qemu-system") {
				_, _ = fmt.Sscan(child, &pid)
				return pid
			}
		}
	}
	return 0
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// A process whose parent has died too is a zombie until its new one looks.
	return err == nil && !strings.Contains(string(stat), ") Z ") && syscall.Kill(pid, 0) == nil
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
