// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mab "github.com/mab-build/mab/cmd/mab"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "iid")
	check := func(t *testing.T, want string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || string(text) != want || info.Mode() != 0o644 {
			t.Errorf("error %v; %v holds %q, want %q", err, info.Mode(), text, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("error %v; there is %v", err, entries)
		}
	}
	t.Run("it is made", func(t *testing.T) {
		if err := mab.WriteFile(path, []byte("one")); err != nil {
			t.Fatal(err)
		}
		check(t, "one")
	})
	t.Run("it is replaced, never written over", func(t *testing.T) {
		before, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = before.Close() }()
		if err := mab.WriteFile(path, []byte("two")); err != nil {
			t.Fatal(err)
		}
		check(t, "two")
		if old, err := io.ReadAll(before); err != nil || string(old) != "one" {
			t.Errorf("error %v; who had it open reads %q", err, old)
		}
	})
	t.Run("what cannot be replaced stays, and nothing else", func(t *testing.T) {
		full := filepath.Join(t.TempDir(), "full")
		if err := os.MkdirAll(filepath.Join(full, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		err := mab.WriteFile(full, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "writing "+`"`+full+`"`) {
			t.Errorf("got %v", err)
		}
		if entries, err := os.ReadDir(filepath.Dir(full)); err != nil || len(entries) != 1 {
			t.Errorf("error %v; there is %v", err, entries)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		if err := mab.WriteFile(dir+"/none/iid", nil); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a pipe is written to", func(t *testing.T) {
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := os.OpenFile(pipe, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := mab.WriteFile(pipe, []byte("three")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(r, got); err != nil || string(got) != "three" {
			t.Errorf("error %v; got %q", err, got)
		}
	})
}

func TestWritable(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":          "",
		"iid":       "",
		"file":      "",
		"none/iid":  `writing "none/iid": there is no directory "none"`,
		"file/iid":  `writing "file/iid": there is no directory "file"`,
		"/dev/null": "",
	} {
		got := ""
		if err := mab.Writable(path); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 1 {
		t.Errorf("error %v; something was made: %v", err, entries)
	}
}
