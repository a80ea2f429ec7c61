// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStaleStateHeals(t *testing.T) {
	l := newWatchedLab(t)
	l.mustBuildFirst()
	l.must("serve", "--stop")
	path := func(name string) string { return filepath.Join(l.root, name) }
	for _, test := range []struct {
		rule string
		make func() error
	}{
		{"a socket that nobody listens on", func() error {
			s, err := net.ListenUnix("unix", &net.UnixAddr{Name: path("solver.sock"), Net: "unix"})
			if err != nil {
				return err
			}
			s.SetUnlinkOnClose(false)
			return s.Close()
		}},
		{"a file where the socket should be", func() error { return os.WriteFile(path("solver.sock"), nil, 0o600) }},
		{"lock files that nobody locks", func() error {
			return errors.Join(os.WriteFile(path("start.lock"), []byte("1"), 0o600), os.WriteFile(path("solver.lock"), []byte("1"), 0o600))
		}},
		{"temporary files", func() error {
			return errors.Join(os.MkdirAll(path("tmp/runc/aaaaaaaaaaaaaaaaaaaaaaaaa"), 0o700), os.WriteFile(path("tmp/runc/aaaaaaaaaaaaaaaaaaaaaaaaa/state.json"), []byte("{"), 0o600),
				os.WriteFile(path("tmp/half"), []byte("x"), 0), os.Symlink("/nowhere", path("tmp/link")))
		}},
		{"a container's bundle", func() error {
			return os.MkdirAll(path("runc-overlayfs/executor/bbbbbbbbbbbbbbbbbbbbbbbbb/rootfs/proc"), 0o711)
		}},
		{"half a blob", func() error {
			dir := path("runc-overlayfs/content/ingest/0000000000000000000000000000000000000000000000000000000000000000")
			return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/data", []byte("half"), 0o600), os.WriteFile(dir+"/ref", nil, 0o600))
		}},
		{"no temporary directory", func() error { return os.RemoveAll(path("tmp")) }},
		{"no log", func() error { return os.Remove(path("solver.log")) }},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if err := test.make(); err != nil {
				t.Fatal(err)
			}
			l := l.on(t)
			l.mustFinish("linux/amd64")
			l.must("serve", "--stop")
			if left := l.stale(); left != "" {
				t.Errorf("left\n%s", left)
			}
			l.noPanic()
		})
	}
}

// mustBuildFirst fills the cache with what mustFinish must not run again.
func (l *lab) mustBuildFirst() {
	l.t.Helper()
	l.must("build", "--platform", "linux/amd64", l.finishContext())
}

// A lock that is held and a directory that cannot be written are told, not waited for.
func TestUnusableState(t *testing.T) {
	l := newWatchedLab(t)
	lock, err := os.Create(filepath.Join(l.root, "solver.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	t.Run("another program holds the lock", func(t *testing.T) {
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		out := l.on(t).start("build", l.scratch()).within(15 * time.Second)
		wantFailed(t, out, []string{"another solver is using"}, "")
	})
	t.Run("the state is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		out := l.on(t).setting("MAB_ROOT="+file, "MAB_RUNTIME_DIR="+file).start("build", l.scratch()).within(15 * time.Second)
		wantFailed(t, out, []string{file, "not a directory"}, "")
	})
}

// Databases are damaged by disks and by machines that lose power. A solver heals its state or says what to do; it does not hang,
// and shows nobody a trace of its stack.
func TestDamagedDatabases(t *testing.T) {
	l := newWatchedLab(t)
	l.mustBuildFirst()
	l.must("serve", "--stop")
	whole := t.TempDir()
	copyAll(t, l.root+"/.", whole)
	damages := []struct {
		name string
		// do is nil where the file is to be removed.
		do func(content []byte) []byte
	}{
		{"gone", nil},
		{"cut to a half", func(c []byte) []byte { return c[:len(c)/2] }},
		{"of zeros", func(c []byte) []byte { return make([]byte, len(c)) }},
		{"with other bytes behind its first pages", func(c []byte) []byte {
			for i := 2 * 4096; i < len(c); i++ {
				c[i] ^= 0x5a
			}
			return c
		}},
	}
	for _, database := range []string{"cache.db", "history.db", "runc-overlayfs/metadata_v2.db", "runc-overlayfs/containerdmeta.db", "runc-overlayfs/snapshots/metadata.db"} {
		for _, damage := range damages {
			t.Run(database+" is "+damage.name, func(t *testing.T) {
				l := l.on(t)
				if err := errors.Join(os.RemoveAll(l.root), os.Mkdir(l.root, 0o700)); err != nil {
					t.Fatal(err)
				}
				copyAll(t, whole+"/.", l.root)
				file := filepath.Join(l.root, database)
				content, err := os.ReadFile(file)
				if err == nil && damage.do == nil {
					err = os.Remove(file)
				} else if err == nil {
					err = os.WriteFile(file, damage.do(content), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				wantHealedOrTold(t, l.start("build", "--platform", "linux/amd64", l.finishContext()).within(30*time.Second))
				l.must("serve", "--stop")
			})
		}
	}
}

func wantHealedOrTold(t *testing.T, out output) {
	t.Helper()
	switch {
	case out.code == 0:
	case !strings.Contains(out.stderr, "mab: hint: ") || strings.Contains(out.stderr, "goroutine ") || strings.Contains(out.stderr, ".go:"):
		t.Errorf("exit code %d\n%s", out.code, out.stderr[max(0, strings.Index(out.stderr, "mab: error")):])
	}
}

func copyAll(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
