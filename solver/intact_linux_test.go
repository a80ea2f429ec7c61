// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/mab-build/mab/solver"
)

// database makes one that is larger than a few pages.
func database(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		outer, err := tx.CreateBucket([]byte("outer"))
		if err != nil {
			return err
		}
		inner, err := outer.CreateBucket([]byte("inner"))
		for i := 0; err == nil && i < 2000; i++ {
			err = inner.Put(fmt.Appendf(nil, "key %d", i), bytes.Repeat([]byte{'v'}, 50))
		}
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestHeal(t *testing.T) {
	const worker = "runc-overlayfs/"
	all := []string{"cache.db", "history.db", worker + "containerdmeta.db", worker + "metadata_v2.db", worker + "snapshots/metadata.db"}
	const layer = worker + "snapshots/snapshots/1/fs"
	truncate := func(part int64) func(string) error {
		return func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, info.Size()/part)
		}
	}
	// blank loses one page, deep in the tree.
	blank := func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page := bytes.Index(text, []byte("key 1500")) / os.Getpagesize() * os.Getpagesize()
		clear(text[page : page+os.Getpagesize()])
		return os.WriteFile(path, text, 0o600)
	}
	garbage := func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<16), 0o600) }
	for _, test := range []struct {
		rule, path string
		damage     func(string) error
		gone       []string
	}{
		{"what is whole stays", "cache.db", nil, nil},
		{"a truncated cache is begun anew, and nothing else", "cache.db", truncate(2), []string{"cache.db"}},
		{"so is a history that is none", "history.db", garbage, []string{"history.db"}},
		{"and one that lost a page", "history.db", blank, []string{"history.db"}},
		{"and an empty one", "history.db", truncate(1 << 40), []string{"history.db"}},
		{"the worker's databases go with all they describe", all[3], truncate(3), append(all, layer)},
		{"if only one of them is damaged", all[4], blank, append(all, layer)},
		{"or missing", all[2], os.Remove, append(all, layer)},
	} {
		t.Run(test.rule, func(t *testing.T) {
			tree(t, layer, "solver.log")
			for _, path := range all {
				database(t, path)
			}
			if test.damage != nil {
				if err := test.damage(test.path); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			if err := solver.Heal(solver.State{Root: "."}, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
				t.Fatal(err)
			}
			var gone []string
			for _, path := range append(all, layer) {
				if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
					gone = append(gone, path)
				}
			}
			if diff := cmp.Diff(test.gone, gone); diff != "" {
				t.Errorf("gone is: want -, got +:\n%s", diff)
			}
			if told := strings.Contains(log.String(), "damaged"); told != (test.gone != nil) {
				t.Errorf("the log tells: %q", &log)
			}
			if _, err := os.Stat("solver.log"); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("a new directory is whole", func(t *testing.T) {
		if err := solver.Heal(solver.State{Root: t.TempDir()}, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
	})
}

// TestSettled has databases read only if somebody touched them since a solver ended.
func TestSettled(t *testing.T) {
	tree(t)
	database(t, "cache.db")
	state := solver.State{Root: "."}
	then := time.Unix(1_700_000_000, 0)
	spoil := func() {
		t.Helper()
		info, err := os.Stat("cache.db")
		if err == nil {
			err = os.WriteFile("cache.db", make([]byte, info.Size()), 0o600)
		}
		if err := errors.Join(err, os.Chtimes("cache.db", then, then)); err != nil {
			t.Fatal(err)
		}
	}
	spoil()
	if err := errors.Join(solver.Settle(state), solver.Heal(state, slog.New(slog.DiscardHandler))); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("cache.db"); err != nil {
		t.Errorf("what nobody touched was looked at: %v", err)
	}
	then = then.Add(time.Nanosecond)
	spoil()
	if err := solver.Heal(state, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("cache.db"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what somebody touched was not looked at: %v", err)
	}
}
