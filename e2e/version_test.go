// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// snapshot tells names, modes and times of all that is below a directory.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			out[path] = info.Mode().String() + " " + info.ModTime().String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStateVersions has mab meet states of newer and older versions of itself.
func TestStateVersions(t *testing.T) {
	l := newLab(t)
	build := func(t *testing.T) output { return l.on(t).mab("build", l.finishContext()) }
	if out := build(t); out.code != 0 {
		t.Fatal(out.stderr)
	}
	l.must("serve", "--stop")
	version := filepath.Join(l.root, "version")
	own := read(t, version)
	if !strings.HasPrefix(own, "format 1\nmab ") {
		t.Fatalf("the state is stamped %q", own)
	}
	for _, test := range []struct{ rule, text, err, hint string }{
		{"a newer mab's state is refused", "format 7\nmab 9.9\nmore\n",
			`the state in "` + l.root + `" was written by mab 9.9 (format 7); this is mab `, "use the newer mab, or give this one a directory of its own with --root DIR"},
		{"so is a state with a damaged version", "form", `"` + version + `" is damaged`, "rm " + version},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if err := os.WriteFile(version, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, l.root)
			for _, args := range [][]string{{"build", l.scratch()}, {"plan", l.scratch()}, {"cache", "du"}, {"cache", "prune", "--force"}, {"serve"}} {
				out := l.on(t).mab(args...)
				if out.code != 1 || out.stdout != "" || !strings.Contains(out.stderr, "mab: error: ") || !strings.Contains(out.stderr, test.err) ||
					!strings.Contains(out.stderr, "mab: hint: ") || !strings.Contains(out.stderr, test.hint) {
					t.Errorf("mab %q: exit code %d, standard output %q\n%s", args, out.code, out.stdout, out.stderr)
				}
			}
			if diff := cmp.Diff(before, snapshot(t, l.root)); diff != "" {
				t.Errorf("the state changed: before -, after +:\n%s", diff)
			}
		})
	}
	t.Run("a state without a version is of format 1", func(t *testing.T) {
		if err := os.Remove(version); err != nil {
			t.Fatal(err)
		}
		if out := build(t); out.code != 0 || strings.Contains(out.stderr, "mab: note: the cache") || !strings.Contains(out.stderr, "CACHED") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		if got := read(t, version); got != own {
			t.Errorf("it is stamped %q, not %q", got, own)
		}
		l.must("serve", "--stop")
	})
	t.Run("an older state is set aside and removed", func(t *testing.T) {
		if err := os.WriteFile(version, []byte("format 0\nmab 0.1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out := build(t)
		if out.code != 0 || !strings.Contains(out.stderr, "mab: note: the cache in \""+l.root+"\" was written by mab 0.1 (format 0); this is mab ") || strings.Contains(out.stderr, "CACHED") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		if got := read(t, version); got != own {
			t.Errorf("it is stamped %q, not %q", got, own)
		}
		eventually(t, 10*time.Second, "the old cache is gone", func() bool {
			left, err := filepath.Glob(filepath.Join(l.root, "solver.old-*"))
			return err == nil && len(left) == 0
		})
		if out := build(t); !strings.Contains(out.stderr, "CACHED") || strings.Contains(out.stderr, "mab: note: the cache in") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
}
