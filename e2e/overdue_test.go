// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestEmulatedTimeout has steps that hang under QEMU.
func TestEmulatedTimeout(t *testing.T) {
	l := newLab(t)
	foreign, _ := foreignArchitectures()
	const limit = "--emulated-timeout=3s"
	t.Run("a step that hangs is stopped, and named", func(t *testing.T) {
		l := l.on(t)
		out := l.start("build", "--progress", "plain", limit, "--platform", foreign.platform, l.foreverContext()).within(60 * time.Second)
		if out.code != 1 || out.stdout != "" {
			t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
		}
		said(t, out, "mab: error: building "+foreign.platform+" on local (emulated): step ", "RUN "+forever, ": it was stopped after 3s\n",
			"mab: hint: programs hang under QEMU", "--emulated-timeout")
		within(t, vanish, "programs of the step are left", func() string { return leftPrograms(l.containers(forever)) })
	})
	t.Run("others are not limited", func(t *testing.T) {
		l := l.on(t)
		host := "linux/" + runtime.GOARCH
		l.must("build", limit, "--platform", host+","+foreign.platform, l.context(map[string]string{
			"Dockerfile": "FROM --platform=$BUILDPLATFORM " + registry(t) + "/busybox AS own\nRUN sleep 5 && echo done > /own\n" +
				"FROM " + registry(t) + "/busybox\nCOPY --from=own /own /\nRUN cat /own\n",
		}))
	})
	t.Run("from the environment", func(t *testing.T) {
		l := l.on(t)
		l.env = append(l.env, "MAB_EMULATED_TIMEOUT=3s")
		l.must("build", "--emulated-timeout=1m", "--platform", foreign.platform, l.context(map[string]string{
			"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN sleep 5\n",
		}))
		out := l.mab("build", "--platform", foreign.platform, l.context(map[string]string{
			"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN sleep 600\n",
		}))
		if out.code != 1 {
			t.Errorf("exit code %d", out.code)
		}
		said(t, out, "it was stopped after 3s")
	})
}

// TestFarmEmulatedTimeout has a step that hangs under the first emulator that runs it.
func TestFarmEmulatedTimeout(t *testing.T) {
	l := newSplitLab(t, hosts("one", "two")...)
	t.Run("another node takes its place", func(t *testing.T) {
		l := l.on(t)
		dir := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN wget -q -O /dev/null " + l.URL + "/second || { " +
			l.hit("begun") + "; " + forever + "; }\n"})
		build := l.start("build", "--progress", "plain", "--platform", "linux/s390x", "--emulated-timeout=5s", "--node", "one,two", dir)
		eventually(t, 60*time.Second, "the step is under way", func() bool { return l.count("begun") > 0 })
		sound(t, os.WriteFile(filepath.Join(l.files, "second"), nil, 0o600))
		out := build.within(60 * time.Second)
		if out.code != 0 || l.count("begun") != 1 {
			t.Errorf("exit code %d, the step hung %d times", out.code, l.count("begun"))
		}
		said(t, out, "is planned anew, because step ", "was stopped after 5s under emulation: linux/s390x goes to ")
		within(t, vanish, "programs of the first step are left", func() string { return leftPrograms(l.containers(forever)) })
	})
	t.Run("where it hangs everywhere the build fails", func(t *testing.T) {
		l := l.on(t)
		out := l.start("build", "--progress", "plain", "--platform", "linux/s390x", "--emulated-timeout=3s", "--node", "one,two", l.foreverContext()).within(60 * time.Second)
		if out.code != 1 || strings.Count(out.stderr, "is planned anew") != 1 {
			t.Errorf("exit code %d", out.code)
		}
		said(t, out, "mab: error: building linux/s390x on ", "(emulated): step ", "it was stopped after 3s")
	})
}

// leftPrograms complains of processes that should be gone.
func leftPrograms(list []int) string {
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprint(list)
}
