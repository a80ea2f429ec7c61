// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/bake"
)

// packed is what a program carries that carries this text, and its digest.
func packed(t *testing.T, text string) (carried, digest string) {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	return string(w.EncodeAll([]byte(text), sum[:])), hex.EncodeToString(sum[:])
}

// unpackedIn are the files in a directory but for the lock.
func unpackedIn(t *testing.T, dir string) []string {
	t.Helper()
	out, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	carried, digest := packed(t, strings.Repeat("one", 1<<16))
	want := filepath.Join(dir, digest, "mab-bake")
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			path, err := bake.Unpack(t.Context(), carried, dir)
			if err == nil && path != want {
				t.Errorf("got %q, want %q", path, want)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(want)
	if err != nil || string(text) != strings.Repeat("one", 1<<16) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	before, err := os.Stat(want)
	if err != nil || before.Mode() != 0o755 {
		t.Fatalf("%v, %v", before, err)
	}
	if _, err := bake.Unpack(t.Context(), carried, dir); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(want); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again: %v", err)
	}
	// What was killed while it unpacked is done again.
	if err := errors.Join(os.Remove(want), os.WriteFile(want+".new", []byte("on"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := bake.Unpack(t.Context(), carried, dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{want}, unpackedIn(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestOtherVersionsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	paths := map[string]string{}
	for _, text := range []string{"old", "recent"} {
		carried, _ := packed(t, text)
		path, err := bake.Unpack(t.Context(), carried, dir)
		if err != nil {
			t.Fatal(err)
		}
		paths[text] = path
	}
	long := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(filepath.Dir(paths["old"]), long, long); err != nil {
		t.Fatal(err)
	}
	carried, _ := packed(t, "new")
	if _, err := bake.Unpack(t.Context(), carried, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(paths["old"]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one is there: %v", err)
	}
	if _, err := os.Stat(paths["recent"]); err != nil {
		t.Errorf("the recent one is not: %v", err)
	}
}

func TestNothingToUnpack(t *testing.T) {
	whole, _ := packed(t, "one")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ rule, carried, dir, hint string }{
		{"cut short", whole[:20], t.TempDir(), "download it again"},
		{"the end is missing", whole[:len(whole)-5], t.TempDir(), "download it again"},
		{"other content", strings.Repeat("x", sha256.Size) + whole[sha256.Size:], t.TempDir(), "download it again"},
		{"no directory", whole, "", "XDG_CACHE_HOME"},
		{"a file in its place", whole, file, "XDG_CACHE_HOME"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, err := bake.Unpack(t.Context(), test.carried, test.dir)
			var known interface{ Hint() string }
			if !errors.As(err, &known) || !strings.Contains(known.Hint(), test.hint) {
				t.Errorf("got %v", err)
			}
			if found := unpackedIn(t, test.dir); test.dir != "" && len(found) > 0 {
				t.Errorf("it left %q", found)
			}
		})
	}
}

func TestBrokenReaders(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ rule, script, text, hint string }{
		{"it fails", "#!/bin/sh\necho no >&2\nexit 3\n", "exit status 3: no", "make build"},
		{"it answers something else", "#!/bin/sh\necho no\n", "invalid character", "make build"},
		{"there is none", "", "no such file", "make build"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			r := bake.Reader{Path: filepath.Join(dir, test.rule)}
			if test.script != "" {
				if err := os.WriteFile(r.Path, []byte(test.script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			_, err := r.Read(t.Context(), bake.Query{})
			var known interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), test.text) || !errors.As(err, &known) || !strings.Contains(known.Hint(), test.hint) {
				t.Errorf("got %v", err)
			}
		})
	}
}
