// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/farm"
)

// keeping is the lab with links that are kept for so long. They go by themselves, but not as soon as the test.
func (l *farmLab) keeping(idle string) *farmLab {
	l.t.Cleanup(l.endKeepers)
	return l.setting("MAB_LINK_PERSIST=" + idle)
}

func (l *farmLab) endKeepers() {
	l.t.Helper()
	for _, pid := range l.keepers() {
		_ = exec.Command("kill", pid).Run() // It may have ended.
	}
	eventually(l.t, 10*time.Second, "no keeper is left", func() bool { return len(l.keepers()) == 0 })
}

// keepers are the processes that keep links for the lab.
func (l *farmLab) keepers() []string {
	var out []string
	for _, p := range processes(mabBinary) {
		if pid, line, _ := strings.Cut(p, " "); strings.Contains(line, " keep-links ") && strings.Contains(line, l.root) {
			out = append(out, pid)
		}
	}
	return out
}

// kept runs builds until one needs no mab on the host for its connection: then a link is kept.
func (l *farmLab) kept(h *farm.Host, build ...string) {
	l.t.Helper()
	l.must(build...)
	eventually(l.t, 20*time.Second, "a keeper runs", func() bool { return len(l.keepers()) == 1 })
	before := logins(h)
	eventually(l.t, 20*time.Second, "a build logs in no more", func() bool {
		l.must(build...)
		now := logins(h)
		same := now == before
		before = now
		return same
	})
}

// logins is how often somebody logged in to a host.
func logins(h *farm.Host) int { return strings.Count(h.SSHDLog(), "Accepted publickey") }

// TestFarmKeptLinks: a link that is kept serves builds as one of their own would, and goes.
func TestFarmKeptLinks(t *testing.T) {
	l := newFarmLab(t, farm.HostConfig{Name: "one", Disk: 512}, farm.HostConfig{Name: "two", Disk: 512}).keeping("1m")
	one := l.Host("one")
	warm := append([]string{"build", l.archContext("warm", "")}, l.node("one")...)
	l.kept(one, warm...)
	t.Run("it pushes, and is seen by nodes check as it is", func(t *testing.T) {
		l := l.on(t)
		before := logins(one)
		ref := registry(t) + "/kept/app:1"
		correct(t, l.pushed(append(l.farmBuild(ref, "linux/amd64,linux/arm64", l.archContext("push", "")), l.node("one")...)...), "linux/amd64,linux/arm64")
		if now := logins(one); now != before {
			t.Errorf("%d logins", now-before)
		}
		sound(t, appendNode(l, "one", one.URL("root")))
		l.must("nodes", "inspect", "one")
		if now := logins(one); now != before+1 {
			t.Errorf("%d logins of nodes inspect, want its own", now-before)
		}
	})
	t.Run("the link is cut in a step", func(t *testing.T) {
		l := l.on(t)
		l.kept(one, warm...)
		build := l.start(append(l.farmBuild(registry(t)+"/kept/cut:1", "linux/amd64", l.archContext(t.Name(), forever)), l.node("one")...)...)
		l.runs("one")
		began := time.Now()
		sound(t, one.Cut(t.Context()))
		out := build.within(routed)
		t.Logf("it ended after %v", time.Since(began).Round(100*time.Millisecond))
		sound(t, one.Mend(t.Context()))
		if out.code != 4 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		said(t, out, "mab: error: ", "one", "the link", "was lost")
		quiet(t, one)
	})
	t.Run("a link that was cut meanwhile is in nobody's way", func(t *testing.T) {
		l := l.on(t)
		l.kept(one, warm...)
		sound(t, one.KillConnections())
		l.must(warm...)
	})
	t.Run("the build is killed", func(t *testing.T) {
		l := l.on(t)
		l.kept(one, warm...)
		build := l.start(append([]string{"build", l.archContext(t.Name(), forever)}, l.node("one")...)...)
		l.runs("one")
		build.signal(syscall.SIGKILL)
		build.wait()
		quiet(t, one)
	})
	t.Run("the keeper is killed", func(t *testing.T) {
		l := l.on(t)
		l.kept(one, warm...)
		build := l.start(append(l.farmBuild(registry(t)+"/kept/killed:1", "linux/amd64", l.archContext(t.Name(), pause)), l.node("one", "two")...)...)
		h := l.halted(build, "one", "two")
		for _, pid := range l.keepers() {
			sound(t, exec.Command("kill", "-9", pid).Run())
		}
		out := build.within(routed + 10*time.Second)
		if out.code != 0 {
			t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		correct(t, strings.TrimSpace(out.stdout), "linux/amd64")
		quiet(t, h)
	})
	t.Run("the solver is replaced by one with another config", func(t *testing.T) {
		l := l.on(t)
		l.kept(one, warm...)
		config := filepath.Join(l.dir, "buildkitd.toml")
		sound(t, os.WriteFile(config, []byte("[registry.\"r.example\"]\n  http = true\n"), 0o600))
		l.setting("MAB_BUILDKITD_CONFIG=" + config).must(warm...)
		l.must(warm...)
	})
	t.Run("a key that was forgotten is asked for again", func(t *testing.T) {
		l := l.on(t)
		l.kept(one, warm...)
		known := read(t, l.KnownHosts())
		sound(t, os.WriteFile(l.KnownHosts(), nil, 0o600))
		out := l.mab(warm...)
		sound(t, os.WriteFile(l.KnownHosts(), []byte(known), 0o600))
		if out.code != 4 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		said(t, out, one.Fingerprint(), "is unknown")
	})
	t.Run("all is taken off the node", func(t *testing.T) {
		l := l.on(t)
		l.kept(one, warm...)
		sound(t, appendNode(l, "gone", one.URL("root")))
		l.must("nodes", "rm", "--purge", "gone")
		files, err := one.Files()
		sound(t, err)
		if len(files) > 0 {
			t.Errorf("left: %q", files)
		}
		l.must(warm...)
	})
	t.Run("it goes after its time", func(t *testing.T) {
		l := l.on(t).keeping("2s")
		l.endKeepers()
		l.kept(one, warm...)
		eventually(t, 10*time.Second, "nothing is left", func() bool {
			left, err := filepath.Glob(filepath.Join(l.root, "links.*"))
			return err == nil && len(left) == 0 && len(l.keepers()) == 0 && one.Connections() == 0
		})
	})
}

// runs waits until a step that does not end runs on a host.
func (l *farmLab) runs(name string) {
	l.t.Helper()
	eventually(l.t, 20*time.Second, "the step runs", func() bool {
		for _, p := range l.Host(name).Processes() {
			if strings.Contains(p.Line, forever) {
				return true
			}
		}
		return false
	})
}
