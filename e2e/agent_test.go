// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// agent is mab agent connect as a coordinator has it, on the other side of a pipe.
type agent struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// agentAnswer is what a mab on a node says.
type agentAnswer struct {
	Protocol         int
	Mab              string
	Ready            bool
	Notes            []string
	Error, Hint, Log string
}

// connect starts it and returns its answer to a first line.
func (l *lab) connect(hello string) (*agent, agentAnswer) {
	l.t.Helper()
	line := slices.Concat(l.program, []string{"agent", "connect"})
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env, cmd.Dir = l.env, l.dir
	attr := l.attr
	cmd.SysProcAttr = &attr
	in, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = io.WriteString(in, hello+"\n")
	}
	if err != nil {
		l.t.Fatal(err)
	}
	a := &agent{cmd, in, bufio.NewReader(out)}
	for {
		answer := a.answer(l.t)
		if answer.Ready || answer.Error != "" {
			return a, answer
		}
	}
}

func (a *agent) answer(t testing.TB) agentAnswer {
	t.Helper()
	for {
		line, err := a.out.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		if text, ok := strings.CutPrefix(line, "mab-agent "); ok {
			return understood(t, text)
		}
	}
}

func understood(t testing.TB, text string) (out agentAnswer) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return out
}

// ended waits for the end of the process, which comes by itself.
func (a *agent) ended(t testing.TB) {
	t.Helper()
	done := make(chan struct{})
	go func() { _ = a.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = a.cmd.Process.Kill()
		t.Fatal("mab agent connect does not end")
	}
}

// forward makes a socket, and every connection to it one through an agent.
func (l *lab) forward() string {
	l.t.Helper()
	path := filepath.Join(l.root, "forward.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			a, _ := l.connect(`{"protocol":1}`)
			go func() { _, _ = io.Copy(a.in, conn); _ = a.in.Close() }()
			go func() { _, _ = io.Copy(conn, a.out); _, _ = conn.Close(), a.cmd.Wait() }()
		}
	}()
	return "unix://" + path
}

// ask runs another command of mab agent.
func (l *lab) ask(args ...string) (agentAnswer, int) {
	l.t.Helper()
	out := l.mab(append([]string{"agent"}, args...)...)
	// The last answer counts.
	i := strings.LastIndex("\n"+out.stdout, "\nmab-agent ")
	if i < 0 {
		l.t.Fatalf("mab agent %s: no answer in %q, %q", args, out.stdout, out.stderr)
	}
	return understood(l.t, strings.TrimPrefix(out.stdout[i:], "mab-agent ")), out.code
}

func TestAgent(t *testing.T) {
	l := newLab(t)
	buildctl := tool(t, "github.com/moby/buildkit/cmd/buildctl")
	t.Run("what it connects to speaks BuildKit's API, and builds", func(t *testing.T) {
		dir := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN uname -m > /arch\n"})
		dest := filepath.Join(l.dir, "files")
		out, err := exec.Command(buildctl, "--addr", l.forward(), "build", "--progress", "plain", "--frontend", "dockerfile.v0",
			"--local", "context="+dir, "--local", "dockerfile="+dir, "--output", "type=local,dest="+dest).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got := strings.TrimSpace(read(t, filepath.Join(dest, "arch"))); got != machineOf(t, hostPlatform()).uname {
			t.Errorf("uname -m = %q", got)
		}
	})
	first := l.solver()
	t.Run("several share one solver, and each ends with its coordinator", func(t *testing.T) {
		one, _ := l.connect(`{"protocol":1}`)
		two, _ := l.connect(`{"protocol":1}`)
		if l.solver() != first {
			t.Errorf("the solver is %d, was %d", l.solver(), first)
		}
		for _, a := range []*agent{one, two} {
			if err := a.in.Close(); err != nil {
				t.Fatal(err)
			}
			a.ended(t)
		}
	})
	t.Run("a coordinator of another protocol is told so", func(t *testing.T) {
		a, answer := l.connect(`{"protocol":99,"mab":"v99"}`)
		a.ended(t)
		if !strings.Contains(answer.Error, "mab v99 and speaks protocol 99") || answer.Protocol != 1 {
			t.Errorf("got %+v", answer)
		}
	})
	t.Run("the end of the log is told", func(t *testing.T) {
		if answer, code := l.ask("logs", "--lines", "1"); code != 0 || answer.Log == "" || strings.Contains(answer.Log, "\n") {
			t.Errorf("code %d, %+v", code, answer)
		}
	})
	t.Run("it ends when the solver is killed, though its coordinator says nothing", func(t *testing.T) {
		a, _ := l.connect(`{"protocol":1}`)
		kill(t, l.solver(), syscall.SIGKILL)
		a.ended(t)
	})
	t.Run("a coordinator's config is that of the solver", func(t *testing.T) {
		hello, err := json.Marshal(map[string]any{"protocol": 1, "solver": map[string]any{"toml": "[registry.\"a.example\"]\nmirrors = [\"b.example\"]\n"}})
		if err != nil {
			t.Fatal(err)
		}
		a, answer := l.connect(string(hello))
		if !answer.Ready {
			t.Fatalf("got %+v", answer)
		}
		line := read(t, fmt.Sprintf("/proc/%d/cmdline", l.solver()))
		_, file, _ := strings.Cut(line, "--config=")
		if text := read(t, strings.TrimRight(file, "\x00")); !strings.Contains(text, "b.example") {
			t.Errorf("its config is %q: %s", file, text)
		}
		if err := a.in.Close(); err != nil {
			t.Fatal(err)
		}
		a.ended(t)
	})
}

// TestAgentRefused: what the machine does not allow goes to the coordinator, with the mend.
func TestAgentRefused(t *testing.T) {
	for _, test := range []struct {
		rule       string
		lab        func(*testing.T) *userLab
		want, hint string
	}{
		{"no user namespaces", func(t *testing.T) *userLab {
			l := newUserLab(t, enoughIDs, `[ "$(cat /proc/self/uid_map | wc -l)" = 2 ] && echo 0 > /proc/sys/user/max_user_namespaces`)
			ids := []syscall.SysProcIDMap{{Size: 1}, {ContainerID: 1, HostID: 1, Size: 100000}}
			l.attr = syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
			return l
		}, "user.max_user_namespaces is 0", "sudo sysctl -w user.max_user_namespaces=15000"},
		{"no place for the cache", func(t *testing.T) *userLab {
			l := newUserLab(t, enoughIDs)
			l.env = append(l.env, "MAB_ROOT=/usr/mab", "MAB_RUNTIME_DIR=/usr/mab")
			return l
		}, "permission denied", "SetEnv MAB_ROOT=DIR"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			a, answer := test.lab(t).connect(`{"protocol":1}`)
			a.ended(t)
			if !strings.Contains(answer.Error, test.want) || !strings.Contains(answer.Hint, test.hint) {
				t.Errorf("got %+v, want %q and %q", answer, test.want, test.hint)
			}
		})
	}
}

// TestAgentPurge takes everything off a machine, as a plain user whose cache has files of other ids.
func TestAgentPurge(t *testing.T) {
	l := newUserLab(t, enoughIDs)
	// The lab has more in the state than mab.
	others := entries(t, l.root)
	base := "FROM " + registry(t) + "/busybox\n"
	l.must("build", "-q", l.context(map[string]string{"Dockerfile": base + "RUN echo x > /theirs && chown 33:34 /theirs && mkdir -m 700 /dir && chown 33 /dir && touch /dir/x && chown 33 /dir/x\n"}))
	build := l.start("build", l.context(map[string]string{"Dockerfile": base + "RUN echo begun && sleep 300\n"}))
	eventually(t, time.Minute, "the build runs", func() bool { return strings.Contains(build.stderr.String(), " begun") })
	if answer, code := l.ask("purge"); code != 1 || !strings.Contains(answer.Error, "a build runs") || !strings.Contains(answer.Hint, "--force") {
		t.Errorf("while a build runs: code %d, %+v", code, answer)
	}
	if answer, code := l.ask("purge", "--force"); code != 0 || answer.Error != "" {
		t.Errorf("by force: code %d, %+v", code, answer)
	}
	if out := build.wait(); out.code == 0 {
		t.Errorf("the build ended well:\n%s", out.stderr)
	}
	if diff := cmp.Diff(others, entries(t, l.root)); diff != "" {
		t.Errorf("left in the state (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(l.home, ".cache", "mab")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("mab's programs: %v", err)
	}
}

func entries(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}
