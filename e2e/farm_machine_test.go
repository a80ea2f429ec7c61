// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/bases"
	vm "github.com/mab-build/mab/e2e/machine"
)

// TestFarmArm64: a machine with another CPU and kernel that has nothing but sshd becomes a node.
func TestFarmArm64(t *testing.T) {
	need(t, "qemu-system-aarch64", "apt-get", "dpkg-deb", "mke2fs")
	programs, err := filepath.Abs(filepath.Dir(release(t, "arm64")))
	sound(t, err)
	image, err := vm.Build(t.Context(), bases.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t, image, vm.StartConfig{})
	l := newLab(t)
	home := t.TempDir()
	ssh := filepath.Join(home, ".ssh")
	sound(t, os.Mkdir(ssh, 0o700))
	sound(t, os.WriteFile(filepath.Join(ssh, "id_ed25519"), m.ClientKey(), 0o600))
	sound(t, os.WriteFile(filepath.Join(ssh, "known_hosts"), []byte(m.KnownHosts()), 0o600))
	l.env = append(l.env, "HOME="+home, "SSH_AUTH_SOCK=", "MAB_NODES=", "MAB_NODES_FILE="+filepath.Join(l.root, "nodes.toml"), "MAB_DIST="+programs)
	f := &farmLab{lab: l}
	if !t.Run("it is added", func(t *testing.T) {
		l := f.on(t)
		began := time.Now()
		l.must("nodes", "add", "vm", "ssh://root@"+m.Addr())
		t.Logf("it took %v", time.Since(began).Round(100*time.Millisecond))
		text := l.must("nodes", "inspect", "vm", "--json")
		for _, word := range []string{"linux/arm64", "linux/arm/v7", "native"} {
			if !strings.Contains(text, word) {
				t.Errorf("no %s in %s", word, text)
			}
		}
	}) {
		return
	}
	const two = "linux/amd64,linux/arm64"
	t.Run("each platform where it is native", func(t *testing.T) {
		l := f.on(t)
		platforms := two + ",linux/arm/v7"
		ref := l.pushed(l.farmBuild(registry(t)+"/vm/app:1", platforms, "--strategy=native", l.context(arm64Every(t)))...)
		index := pull(t, ref)
		got := map[string]string{}
		for _, p := range strings.Split(platforms, ",") {
			got[p] = rootfsOf(t, imageOf(t, index, p)).text(t, "machine") + " " + l.where()[p]
		}
		want := map[string]string{
			"linux/amd64": "x86_64 local native", "linux/arm64": "aarch64 vm native",
			// The CPU runs it, and the kernel says its own name.
			"linux/arm/v7": "aarch64 vm native",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("it runs only what is its own, and the faster machine the rest", func(t *testing.T) { f.on(t).onlyForeign() })
	frozen := func(how syscall.Signal) func() error { return func() error { return syscall.Kill(m.Pid(), how) } }
	f.lose(t, m, "all of mab is killed there", func() error {
		out, err := m.SSH(t.Context(), "sh", "-c", `for p in /proc/[0-9]*; do tr '\000' ' ' < $p/cmdline | grep -qE 'mab.* (agent connect|serve)' && kill -9 ${p#/proc/}; done; true`)
		if err == nil && out.Code != 0 {
			err = errors.New(out.Stderr)
		}
		return err
	})
	f.lose(t, m, "it is frozen, and says nothing", frozen(syscall.SIGSTOP))
	sound(t, frozen(syscall.SIGCONT)())
	t.Run("it comes back", func(t *testing.T) {
		l := f.on(t)
		correct(t, l.pushed(l.farmBuild(registry(t)+"/vm/back:1", two, "--strategy=native", l.archContext("back", ""))...), two)
		if got := l.where()["linux/arm64"]; got != "vm native" {
			t.Errorf("it was built by %s", got)
		}
	})
	f.lose(t, m, "it is killed", m.Close)
	t.Run("it is off and emulation takes its place", func(t *testing.T) {
		l := f.on(t)
		correct(t, l.pushed(l.farmBuild(registry(t)+"/vm/off:1", two, l.archContext("off", ""))...), two)
		if got := l.where()["linux/arm64"]; got != "local emulated" {
			t.Errorf("it was built by %s", got)
		}
	})
}

// lose has something befall the machine in the middle of a build in which nothing may take its place.
func (l *farmLab) lose(t *testing.T, m guest, name string, befall func() error) {
	t.Run(name, func(t *testing.T) {
		l := l.on(t)
		ref := registry(t) + "/vm/lost:1"
		build := l.start(l.farmBuild(ref, "linux/amd64,linux/arm64", "--strategy=native", l.archContext(name, "sleep 5"))...)
		guestRuns(build, m, "sleep 5")
		sound(t, befall())
		out := build.within(2 * routed)
		if out.code != 4 || out.stdout != "" {
			t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
		}
		said(t, out, "mab: error: building on vm", "nothing could take its place")
		if exists(t, ref) {
			t.Errorf("%s was written", ref)
		}
	})
}

// guestRuns waits until a process of a build whose command line has a text runs in the machine.
func guestRuns(build *running, m guest, text string) {
	t := build.t
	t.Helper()
	eventually(t, 90*time.Second, fmt.Sprintf("%q runs in the machine", text), func() bool {
		out, err := m.SSH(t.Context(), "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\000' ' ' | grep -q '["+text[:1]+"]"+text[1:]+"'")
		if _, born := stat(build.cmd.Process.Pid); born == 0 {
			t.Fatalf("the build ended: %s", build.wait().stderr)
		}
		return err == nil && out.Code == 0
	})
}
