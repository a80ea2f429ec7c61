// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/e2e/farm"
)

// TestFarmNodes has mab nodes look at machines by SSH.
func TestFarmNodes(t *testing.T) {
	l := newFarmLab(t, farm.HostConfig{Name: "one"}, farm.HostConfig{Name: "locked", Locked: true})
	one := l.Host("one")
	saved := func() string {
		text, _ := os.ReadFile(filepath.Join(l.root, "nodes.toml"))
		return string(text)
	}
	t.Run("a host key that is unknown is told, and saved is nothing", func(t *testing.T) {
		l := l.on(t)
		known := read(t, l.KnownHosts())
		sound(t, os.WriteFile(l.KnownHosts(), nil, 0o600))
		t.Cleanup(func() { _ = os.WriteFile(l.KnownHosts(), []byte(known), 0o600) }) // The next reader sees what is there.
		l.refused(4, []string{one.Fingerprint(), "mab: note: nothing was saved", "--accept-new-host-key"}, "nodes", "add", "one", one.URL("root"))
		if text := saved(); text != "" {
			t.Errorf("saved:\n%s", text)
		}
		l.must("nodes", "add", "--accept-new-host-key", "one", one.URL("root"))
		if text := read(t, l.KnownHosts()); !strings.Contains(text, strings.Fields(one.HostKey(22))[2]) {
			t.Errorf("the key was not remembered: %q", text)
		}
	})
	t.Run("what it is", func(t *testing.T) {
		l := l.on(t)
		got := jsonOf[seen](t, l.must("nodes", "inspect", "--json", "one"))
		if got.platform(hostPlatform()) != "native" || got.Info.Machine.CPUs == 0 || got.Info.Latency <= 0 {
			t.Errorf("got %+v", got)
		}
		text := l.must("nodes", "check", "one")
		for _, word := range []string{"one  ok, " + hostPlatform(), "latency ", "/s up", "/s down"} {
			if !strings.Contains(text, word) {
				t.Errorf("no %q in\n%s", word, text)
			}
		}
		if lines := strings.Count(l.must("nodes", "logs", "--lines=1", "one"), "\n"); lines != 0 {
			t.Errorf("more than one line of the log")
		}
	})
	t.Run("a socket on the far side", func(t *testing.T) {
		l := l.on(t)
		url := strings.Replace(one.URL("root"), "ssh://", "ssh+unix://", 1) + "/run/mab/solver.sock"
		l.must("nodes", "add", "sock", url)
		dir := l.archContext("sock", "")
		dest := filepath.Join(l.dir, "files")
		l.must("build", "--node", "sock", "--platform", foreignPlatform(), "-o", dest, dir)
		if got, want := strings.TrimSpace(read(t, filepath.Join(dest, "arch"))), machineOf(t, foreignPlatform()).uname; got != want {
			t.Errorf("uname -m is %q, want %q", got, want)
		}
		l.refused(1, []string{"mab did not start its solver"}, "nodes", "logs", "sock")
		l.refused(4, []string{`node "none"`, "/run/none.sock", "mab: hint: "}, "nodes", "inspect", "none="+strings.Replace(url, "mab/solver", "none", 1))
		l.must("nodes", "rm", "sock")
	})
	t.Run("a passphrase is asked for on the terminal", func(t *testing.T) {
		l := l.on(t)
		l.refused(4, []string{"id_locked", "ssh-add", "nothing was saved"}, "nodes", "add", "locked", l.Host("locked").URL("root"))
		shown, code := l.onTerminal(farm.Passphrase+"\n", "nodes", "add", "locked", l.Host("locked").URL("root"))
		if code != 0 || !strings.Contains(shown, "id_locked: ") || strings.Contains(shown, farm.Passphrase) {
			t.Errorf("exit code %d; the terminal shows\n%s", code, shown)
		}
		if !strings.Contains(saved(), "'locked'") {
			t.Errorf("it is not saved:\n%s", saved())
		}
	})
	t.Run("nothing is removed from under a build, unless forced", func(t *testing.T) {
		l := l.on(t)
		build := l.start(append([]string{"build", l.archContext("under", "sleep 60")}, l.node("one")...)...)
		eventually(t, 20*time.Second, "the step runs", func() bool { return strings.Contains(fmt.Sprint(one.Processes()), "sleep 60") })
		if n := jsonOf[[]seen](t, l.must("nodes", "ls", "--json", "one"))[0].Info.Running; n != 1 {
			t.Errorf("%d builds are under way", n)
		}
		l.refused(1, []string{"one stays saved", "--force"}, "nodes", "rm", "--purge", "one")
		l.must("nodes", "rm", "--purge", "--force", "one")
		if out := build.wait(); out.code != 4 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		if files, err := one.Files(); err != nil || len(files) > 0 {
			t.Errorf("error %v; left: %q", err, files)
		}
		if strings.Contains(saved(), "'one'") {
			t.Errorf("it is still saved:\n%s", saved())
		}
	})
	t.Run("what cannot be reached stays saved, unless it need not be purged", func(t *testing.T) {
		l := l.on(t)
		l.must("nodes", "add", "--no-check", "one", one.URL("root"))
		sound(t, one.StopSSHD())
		l.refused(4, []string{`"one"`, "one stays saved"}, "nodes", "rm", "--purge", "one")
		if out := l.must("nodes", "rm", "--json", "one"); !strings.Contains(out, `"forgotten": true`) || !strings.Contains(out, `"purged": false`) {
			t.Errorf("got %s", out)
		}
		sound(t, one.StartSSHD(t.Context()))
	})
}

// onTerminal runs mab with a terminal of its own, at which somebody types when he is asked. It returns what the terminal shows.
func (l *farmLab) onTerminal(typed string, args ...string) (shown string, code int) {
	l.t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	sound(l.t, err)
	defer user.Close()
	sound(l.t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	sound(l.t, err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	sound(l.t, err)
	cmd := exec.CommandContext(l.t.Context(), mabBinary, args...)
	cmd.Dir, cmd.Env = l.dir, l.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	sound(l.t, cmd.Start())
	_ = terminal.Close()
	var all bytes.Buffer
	buffer := make([]byte, 4096)
	for asked := false; ; {
		n, err := user.Read(buffer)
		all.Write(buffer[:n])
		if err != nil {
			// That is how the kernel says that nobody has the terminal open any more.
			break
		}
		if !asked && strings.HasSuffix(all.String(), ": ") {
			asked = true
			_, err = io.WriteString(user, typed)
			sound(l.t, err)
		}
	}
	_ = cmd.Wait() // The code tells.
	return all.String(), cmd.ProcessState.ExitCode()
}
