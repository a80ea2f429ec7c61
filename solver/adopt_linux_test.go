// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

// TestAdopt has a mab 1.2 of format 2 take over states of all kinds.
func TestAdopt(t *testing.T) {
	cache := map[string]string{
		"runc-overlayfs/snapshots/1/fs/file": "layer", "runc-native/content/blob": "blob", "cache.db": "cache", "history.db": "history",
		"settled": "then", "unsettled": "boot",
	}
	rest := map[string]string{"solver.log": "log", "solver.lock": "", "tmp/x": "x", "emulators/qemu": "q"}
	const ours = "format 2\nmab 1.2\n"
	for _, test := range []struct {
		rule, version string // version is the file's text; "-" for no file
		keeps         bool
		wantVersion   string
		log           string
	}{
		{"its own is as it was", ours, true, ours, ""},
		{"the last version to use it is written down", "format 2\nmab 1.1\n", true, ours, ""},
		{"an older one is begun anew", "format 1\nmab 1.1\n", false, ours, `by="mab 1.1 (format 1)"`},
		{"so is one from before versions were written down", "-", false, ours, `by="mab of an unknown version (format 1)"`},
		{"a newer one is left alone", "format 3\nmab 1.9\n", true, "format 3\nmab 1.9\n", "refused"},
		{"a damaged one too", "format", true, "format", "refused"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			root := t.TempDir()
			want := map[string]string{}
			put := func(files map[string]string, stays bool) {
				for name, content := range files {
					path := filepath.Join(root, name)
					if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
						t.Fatal(err)
					}
					if stays {
						want[name] = content
					}
				}
			}
			put(cache, test.keeps)
			put(rest, true)
			if test.version != "-" {
				put(map[string]string{"version": test.version}, false)
			}
			want["version"] = test.wantVersion
			log, err := adopt(t.Context(), t, root)
			if err != nil {
				log = "refused"
			}
			if !strings.Contains(log, test.log) || (test.log == "" && log != "") {
				t.Errorf("error %v, log %q", err, log)
			}
			got := tell(t, root)
			for name, content := range got {
				if content == "" && name != "solver.lock" {
					delete(got, name) // a directory
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func adopt(ctx context.Context, t *testing.T, root string) (log string, err error) {
	t.Helper()
	var b bytes.Buffer
	err = solver.AdoptAs(solver.State{Root: root}, 2, "1.2", slog.New(slog.NewTextHandler(&b, nil)))
	if err == nil {
		err = solver.RemoveAside(ctx, root)
	}
	return b.String(), err
}

// TestAdoptInterrupted has a removal that did not come to its end go on at the next start.
func TestAdoptInterrupted(t *testing.T) {
	root := t.TempDir()
	fill(t, root, "format 1\nmab 1.1\n", "cache.db")
	fill(t, filepath.Join(root, "runc-overlayfs"), "-", "file")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := adopt(over, t, root); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	left, err := filepath.Glob(filepath.Join(root, "solver.old-*", "*"))
	if err != nil || len(left) != 2 {
		t.Fatalf("error %v, set aside: %q", err, left)
	}
	if log, err := adopt(t.Context(), t, root); err != nil || log != "" {
		t.Errorf("error %v, log %s", err, log)
	}
	if diff := cmp.Diff(map[string]string{"version": "format 2\nmab 1.2\n"}, tell(t, root)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestForeignState(t *testing.T) {
	root := t.TempDir()
	fill(t, root, "format 2\nmab 1.2\n", "cache.db")
	if err := os.Chmod(root, 0o700); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		_, err := solver.Handle(solver.State{Root: root}, 2, "1.2")
		var hinted interface{ Hint() string }
		if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), root) || !strings.Contains(hinted.Hint(), "--root DIR") {
			t.Errorf("got %v", err)
		}
	})
}
