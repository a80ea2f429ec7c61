// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/farm"
)

// TestFarmKeys: who a host is and who the user is, where it is not all in order.
func TestFarmKeys(t *testing.T) {
	need(t, "ssh-agent", "ssh-add", "ssh-keygen")
	l := newFarmLab(t, farm.HostConfig{Name: "one"}, farm.HostConfig{Name: "locked", Locked: true})
	one := l.Host("one")
	known := read(t, l.KnownHosts())
	build := func(l *farmLab, node string, more ...string) output {
		return l.start(append(append([]string{"build", l.archContext("keys", "")}, l.node(node)...), more...)...).within(15 * time.Second)
	}
	setKnown := func(t *testing.T, text string) {
		t.Helper()
		if err := os.WriteFile(l.KnownHosts(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.WriteFile(l.KnownHosts(), []byte(known), 0o600) }) // The next reader sees what is there.
	}
	refused := func(t *testing.T, out output, words ...string) {
		t.Helper()
		if out.code != 4 || out.stdout != "" {
			t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
		}
		said(t, out, append(words, "mab: error: ", "mab: hint: ")...)
	}
	t.Run("an unknown host key", func(t *testing.T) {
		l := l.on(t)
		setKnown(t, "")
		refused(t, build(l, "one"), "one", one.Fingerprint(), "--accept-new-host-key")
		if left := read(t, l.KnownHosts()); left != "" {
			t.Errorf("it was remembered: %s", left)
		}
		if out := build(l, "one", "--accept-new-host-key"); out.code != 0 {
			t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		if out := build(l, "one"); out.code != 0 {
			t.Fatalf("it was not remembered: exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("a changed host key", func(t *testing.T) {
		l := l.on(t)
		setKnown(t, strings.ReplaceAll(l.Host("locked").HostKey(22), l.Host("locked").Addr(), one.Addr()))
		refused(t, build(l, "one"), "one", one.Fingerprint(), "ssh-keygen -R")
		refused(t, build(l, "one", "--accept-new-host-key"), one.Fingerprint())
	})
	t.Run("hashed known hosts", func(t *testing.T) {
		l := l.on(t)
		setKnown(t, known)
		if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-H", "-f", l.KnownHosts()).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { _ = os.Remove(l.KnownHosts() + ".old") }) // The home goes with the farm.
		if out := build(l, "one"); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("a key with a passphrase and nobody to ask", func(t *testing.T) {
		l := l.on(t)
		refused(t, build(l, "locked"), "locked", "id_locked", "passphrase", "ssh-add")
	})
	t.Run("a key with a passphrase in an agent", func(t *testing.T) {
		l := l.on(t)
		agent := startAgent(t, "another")
		ask := filepath.Join(t.TempDir(), "ask")
		if err := os.WriteFile(ask, []byte("#!/bin/sh\necho '"+farm.Passphrase+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		add := exec.CommandContext(t.Context(), "ssh-add", filepath.Join(l.Home(), ".ssh/id_locked"))
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+agent, "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force")
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out := build(l.setting("SSH_AUTH_SOCK="+agent), "locked"); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("a host that does not let in", func(t *testing.T) {
		l := l.on(t)
		refused(t, build(l, "nobody="+strings.Replace(one.URL("root"), "root@", "sshd@", 1)), "nobody")
	})
}
