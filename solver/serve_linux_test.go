// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/stats"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

func TestIdle(t *testing.T) {
	const stop, calm = 10 * time.Minute, 2 * time.Second
	begin, end := &stats.ConnBegin{}, &stats.ConnEnd{}
	// A step lets time pass, then something happens.
	type step struct {
		wait time.Duration
		what stats.ConnStats
	}
	for _, test := range []struct {
		rule  string
		stop  time.Duration
		steps []step
		over  time.Duration // after the last step; negative: never
		calls string
	}{
		{"nobody ever comes", stop, nil, stop, ""},
		{"one comes and goes", stop, []step{{time.Minute, begin}, {time.Minute, end}}, stop, "busy calm "},
		{"the last of two counts", stop, []step{{0, begin}, {0, begin}, {time.Hour, end}, {time.Hour, end}}, stop, "busy calm "},
		{"the next one comes in time", stop, []step{{0, begin}, {0, end}, {stop - 1, begin}, {time.Hour, end}}, stop, "busy calm busy calm "},
		{"the next one comes at once", stop, []step{{0, begin}, {0, end}, {calm - 1, begin}, {calm, end}}, stop, "busy busy calm "},
		{"somebody stays", stop, []step{{0, begin}, {0, begin}, {0, end}}, -1, "busy "},
		{"never", 0, []step{{0, begin}, {0, end}}, -1, "busy calm "},
	} {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls strings.Builder
				i := solver.NewIdle(test.stop, calm, func() { calls.WriteString("busy ") }, func() { calls.WriteString("calm ") })
				over := func() bool {
					synctest.Wait()
					select {
					case <-i.Over():
						return true
					default:
						return false
					}
				}
				for n, s := range test.steps {
					time.Sleep(s.wait)
					i.HandleConn(t.Context(), s.what)
					if over() {
						t.Fatalf("over after step %d", n)
					}
				}
				if test.over < 0 {
					time.Sleep(24 * time.Hour)
					if over() {
						t.Error("over")
					}
				} else {
					time.Sleep(test.over - time.Nanosecond)
					if over() {
						t.Error("over too early")
					}
					time.Sleep(time.Nanosecond)
					if !over() {
						t.Error("not over in time")
					}
				}
				if diff := cmp.Diff(test.calls, calls.String()); diff != "" {
					t.Errorf("want -, got +:\n%s", diff)
				}
			})
		})
	}
	t.Run("a connection that comes when it is over changes nothing", func(t *testing.T) {
		synctest.Test(t, func(*testing.T) {
			i := solver.NewIdle(stop, calm, func() {}, func() {})
			<-i.Over()
			i.HandleConn(t.Context(), begin)
			i.HandleConn(t.Context(), end)
			time.Sleep(2 * stop)
			<-i.Over()
		})
	})
}

func TestAcquire(t *testing.T) {
	state := solver.State{Root: t.TempDir()}
	first, err := solver.Acquire(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := solver.Acquire(t.Context(), state)
		var hinted interface{ Hint() string }
		if err == nil || err.Error() != "another solver is using "+`"`+state.Root+`"` || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "--root") {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("it waited %s for one that may be stopping", waited)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := solver.Acquire(ctx, state); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := solver.Acquire(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(state.Root, "solver.lock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("error %v; got %v", err, info)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	// A solver that is killed leaves its socket.
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	umask := unix.Umask(0)
	defer unix.Umask(umask)
	l, err := solver.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if got := unix.Umask(0); got != 0 {
		t.Errorf("the umask is left as %#o", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("error %v; got %v", err, info.Mode())
	}
	c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
	if err := errors.Join(err, c.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := solver.Listen(t.Context(), filepath.Join(path, "below")); err == nil {
		t.Error("it listens where it cannot")
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	tree(t, "tmp/a", "tmp/deep/b", "runc-overlayfs/executor/x/config.json", "runc-overlayfs/cachemounts/y", "runc-native/executor/z",
		"runc-overlayfs/content/blobs/sha256/c", "runc-overlayfs/executor.db", "cache.db", "history.db", "solver.log", "other/executor/d")
	state := solver.State{Root: ".", Runtime: dir}
	if err := solver.Clean(state); err != nil {
		t.Fatal(err)
	}
	var left []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() || slices.Contains([]string{"tmp", "runc-overlayfs/executor", "runc-overlayfs/cachemounts", "runc-native/executor"}, path) {
			left = append(left, path)
		}
		return err
	})
	want := []string{
		"cache.db", "history.db", "other/executor/d", "runc-native/executor", "runc-overlayfs/cachemounts", "runc-overlayfs/content/blobs/sha256/c",
		"runc-overlayfs/executor", "runc-overlayfs/executor.db", "solver.log", "tmp",
	}
	if diff := cmp.Diff(want, left); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
	if err := solver.Clean(solver.State{Root: dir}); err != nil {
		t.Errorf("of a new directory: %v", err)
	}
}

// TestFlag has the cache go where it may be damaged, and nowhere else.
func TestFlag(t *testing.T) {
	damaged := []string{"cache.db", "history.db", "runc-overlayfs/metadata_v2.db", "runc-native/content/c"}
	kept := []string{"solver.log", "tmp/a", "unsettled.old"}
	for _, test := range []struct {
		rule    string
		prepare func(solver.Flag, string) error
		lost    bool
	}{
		{"it was never raised", func(solver.Flag, string) error { return nil }, false},
		{"it was raised under this boot", func(f solver.Flag, _ string) error { f.Raise(); return nil }, false},
		{"it was raised and lowered", func(f solver.Flag, _ string) error { f.Raise(); f.Lower(); f.Lower(); return nil }, false},
		{"it was raised under another boot", func(_ solver.Flag, path string) error { return os.WriteFile(path, []byte("another\n"), 0o600) }, true},
		{"the machine went down while it was raised", func(_ solver.Flag, path string) error { return os.WriteFile(path, nil, 0o600) }, true},
	} {
		t.Run(test.rule, func(t *testing.T) {
			tree(t, append(damaged, kept...)...)
			state := solver.State{Root: "."}
			var log bytes.Buffer
			flag := solver.NewFlag(state, slog.New(slog.NewTextHandler(&log, nil)))
			if err := test.prepare(flag, state.Unsettled()); err != nil {
				t.Fatal(err)
			}
			if log.Len() > 0 {
				t.Errorf("warned before: %s", &log)
			}
			if err := flag.Recover(state); err != nil {
				t.Fatal(err)
			}
			if warned := strings.Contains(log.String(), "beginning the cache anew"); warned != test.lost {
				t.Errorf("warned: %q", &log)
			}
			for _, path := range append(damaged, kept...) {
				_, err := os.Stat(path)
				if gone := errors.Is(err, fs.ErrNotExist); gone != (test.lost && slices.Contains(damaged, path)) {
					t.Errorf("%s is gone: %t (%v)", path, gone, err)
				}
			}
			if _, err := os.Stat(state.Unsettled()); test.lost && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the flag is still there: %v", err)
			}
		})
	}
}

func TestAbilities(t *testing.T) {
	host := platforms.Host()
	survey := []emulation.Support{
		{Platform: platforms.MustParse("linux/s390x"), How: emulation.Emulated},
		{Platform: host, How: emulation.Native},
		{Platform: platforms.MustParse("linux/mips64"), How: emulation.None},
	}
	got, label, err := solver.Abilities(survey)
	if err != nil {
		t.Fatal(err)
	}
	// BuildKit takes the first platform for its own.
	if diff := cmp.Diff([]string{host.OS + "/" + host.Architecture, "linux/s390x"}, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if !strings.Contains(label, `"linux/mips64"`) {
		t.Errorf("the label does not tell what does not run: %s", label)
	}
}

func TestServeWantsASandbox(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	if err := solver.Serve(t.Context(), solver.ServeConfig{State: solver.State{Root: root}}); err == nil {
		t.Error("it serves in the namespaces of the host")
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("and made its directory: %v", err)
	}
}
