// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/farm"
)

// start makes a farm, or skips the test where that is not possible; where everything must run it fails instead.
func start(t *testing.T, cfg farm.Config) *farm.Farm {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "root"
	}
	for _, program := range []string{"ip", "tc", "nsenter", "ssh", "ssh-add", "/usr/sbin/sshd"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = program
		}
	}
	switch {
	case missing != "" && os.Getenv("MAB_E2E") == "all":
		t.Fatalf("%s is missing", missing)
	case missing != "":
		t.Skipf("%s is missing", missing)
	}
	f, err := farm.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(f.Home()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its files: %v", err)
		}
	})
	return f
}

// client runs OpenSSH's client with the farm's files.
func client(t *testing.T, f *farm.Farm, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	options := []string{"-F", f.SSHConfig(), "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "-o", "ServerAliveInterval=1"}
	out, err := exec.CommandContext(ctx, "ssh", append(options, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func wants(t *testing.T, want string, f *farm.Farm, args ...string) {
	t.Helper()
	got, err := client(t, f, args...)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("ssh %q: %v (-want +got):\n%s", args, err, diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func TestFarm(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	defer server.Close()
	registry := strings.Replace(server.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	f := start(t, farm.Config{Registry: registry, Hosts: []farm.HostConfig{
		{Name: "one", Disk: 64}, {Name: "two"}, {Name: "inner", Behind: "two"}, {Name: "locked", Locked: true},
	}})
	one, two := f.Host("one"), f.Host("two")
	t.Run("hosts are machines of their own", func(t *testing.T) {
		for _, name := range []string{"one", "two", "inner"} {
			wants(t, name+" /root 1", f, name, `echo $(hostname) $HOME $(ls /proc | grep -c '^1$')`)
		}
		wants(t, "1000 /home/pi", f, "-l", "pi", "one", `echo $(id -u) $HOME && touch /tmp/x $HOME/x`)
		wants(t, "", f, "two", "ls -d /tmp/* /home/pi/* /var/lib/* 2>/dev/null; true")
	})
	t.Run("a plain user has subordinate ids", func(t *testing.T) {
		wants(t, "65535", f, "-l", "pi", "one", `unshare --user --map-root-user --map-users=auto awk '$1 == 1 {print $3}' /proc/self/uid_map`)
	})
	t.Run("the one behind is reached by jumping only", func(t *testing.T) {
		if conn, err := net.DialTimeout("tcp", f.Host("inner").Addr()+":22", time.Second); err == nil {
			conn.Close()
			t.Error("it is reached without")
		}
	})
	t.Run("a host that wants the key with a passphrase", func(t *testing.T) {
		if out, err := client(t, f, "locked", "true"); err == nil || !strings.Contains(out, "Permission denied") {
			t.Errorf("%v: %s", err, out)
		}
		unlocked := filepath.Join(t.TempDir(), "key")
		content, err := os.ReadFile(filepath.Join(f.Home(), ".ssh/id_locked"))
		must(t, err)
		must(t, os.WriteFile(unlocked, content, 0o600))
		must(t, exec.CommandContext(t.Context(), "ssh-keygen", "-p", "-q", "-P", farm.Passphrase, "-N", "", "-f", unlocked).Run())
		wants(t, "locked", f, "-i", unlocked, "locked", "hostname")
	})
	t.Run("the registry has the same address everywhere", func(t *testing.T) {
		for _, name := range []string{"one", "inner"} {
			wants(t, "/x", f, name, fetch(registry))
		}
		must(t, one.StopForwarding(registry))
		if out, err := client(t, f, "one", fetch(registry)); err == nil {
			t.Errorf("it is reached though it should not: %s", out)
		}
	})
	t.Run("known hosts", func(t *testing.T) { knownHosts(t, f) })
	t.Run("nothing is left of an idle host", func(t *testing.T) {
		within(t, 5*time.Second, "no leftovers", func() bool { return len(two.Leftovers()) == 0 })
		_, err := two.Run(t.Context(), "sh", "-c", "mkdir /tmp/m && mount -t tmpfs x /tmp/m && sleep 86401 >/dev/null 2>&1 &")
		must(t, err)
		within(t, 5*time.Second, "a process and a mount", func() bool { return len(two.Leftovers()) == 2 })
		if diff := cmp.Diff("sleep 86401", two.Processes()[0].Line); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		must(t, two.Kill(t.Context(), two.Processes()[0].PID))
		_, err = two.Run(t.Context(), "sh", "-c", "umount /tmp/m && rmdir /tmp/m")
		must(t, err)
		within(t, 5*time.Second, "no leftovers, no zombies", func() bool { return len(two.Leftovers()) == 0 })
	})
	t.Run("faults", func(t *testing.T) { faults(t, f) })
}

// fetch asks an HTTP server for /x with nothing but a shell.
func fetch(registry string) string {
	return fmt.Sprintf(`perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new("%s") or exit 1; print $s "GET /x HTTP/1.0\r\n\r\n"; @l = <$s>; print $l[-1]'`,
		strings.Replace(registry, "localhost", "127.0.0.1", 1))
}

func knownHosts(t *testing.T, f *farm.Farm) {
	before, err := os.ReadFile(f.KnownHosts())
	must(t, err)
	defer func() { must(t, os.WriteFile(f.KnownHosts(), before, 0o600)) }()
	for _, test := range []struct{ rule, content, says string }{
		{"unknown", "", "Host key verification failed"},
		{"changed", strings.Replace(f.Host("two").HostKey(22), f.Host("two").Addr(), f.Host("one").Addr(), 1), "REMOTE HOST IDENTIFICATION HAS CHANGED"},
	} {
		must(t, os.WriteFile(f.KnownHosts(), []byte(test.content), 0o600))
		if out, err := client(t, f, "-o", "StrictHostKeyChecking=yes", "one", "true"); err == nil || !strings.Contains(out, test.says) {
			t.Errorf("%s: %v: %s", test.rule, err, out)
		}
	}
}

func faults(t *testing.T, f *farm.Farm) {
	one := f.Host("one")
	t.Run("a cut link, which heals", func(t *testing.T) {
		must(t, one.Cut(t.Context()))
		if out, err := client(t, f, "one", "true"); err == nil {
			t.Errorf("it is reached: %s", out)
		}
		must(t, one.Mend(t.Context()))
		wants(t, "one", f, "one", "hostname")
	})
	t.Run("sshd killed and started", func(t *testing.T) {
		must(t, one.StopSSHD())
		if out, err := client(t, f, "one", "true"); err == nil || !strings.Contains(out, "refused") {
			t.Errorf("%v: %s", err, out)
		}
		must(t, one.StartSSHD(t.Context()))
		wants(t, "one", f, "one", "hostname")
	})
	t.Run("connections killed", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "ssh", "-F", f.SSHConfig(), "one", "exec sleep 30")
		must(t, cmd.Start())
		within(t, 5*time.Second, "a connection", func() bool { return one.Connections() == 1 && len(one.Processes()) == 1 })
		must(t, one.KillConnections())
		if err := cmd.Wait(); err == nil {
			t.Error("it goes on")
		}
		must(t, one.Kill(t.Context(), one.Processes()[0].PID))
		wants(t, "one", f, "one", "hostname")
	})
	t.Run("a full disk", func(t *testing.T) {
		must(t, one.FillDisk(0))
		if out, err := client(t, f, "one", "head -c 10000 /dev/zero > /root/zeros"); err == nil || !strings.Contains(out, "No space left") {
			t.Errorf("%v: %s", err, out)
		}
		must(t, one.FreeDisk())
		wants(t, "", f, "one", "head -c 10000 /dev/zero > /root/zeros && rm /root/zeros")
	})
	t.Run("a slow link", func(t *testing.T) {
		must(t, one.Shape(t.Context(), 20))
		began := time.Now()
		_, before := one.Traffic()
		copied(t, f, 2500000)
		if _, after := one.Traffic(); after-before < 2500000 || after-before > 3000000 {
			t.Errorf("2500000 bytes made %d on the link", after-before)
		}
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("20 Mbit took %v", took)
		}
		must(t, one.Shape(t.Context(), 0))
		copied(t, f, 2500000)
	})
	t.Run("a long way", func(t *testing.T) {
		port, err := one.Delayed(50 * time.Millisecond)
		must(t, err)
		must(t, os.WriteFile(f.KnownHosts(), []byte(one.HostKey(port)), 0o600))
		began := time.Now()
		wants(t, "one", f, "-p", fmt.Sprint(port), "one", "hostname")
		if took := time.Since(began); took < 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("silence", func(t *testing.T) {
		port, err := one.Silent()
		must(t, err)
		if out, err := client(t, f, "-p", fmt.Sprint(port), "one", "true"); err == nil || !strings.Contains(out, "timed out") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// copied sends so many bytes from the host to here.
func copied(t *testing.T, f *farm.Farm, size int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ssh", "-F", f.SSHConfig(), "one", fmt.Sprintf("head -c %d /dev/zero", size)).Output()
	if err != nil || len(out) != size {
		t.Errorf("%d bytes: %v", len(out), err)
	}
}
