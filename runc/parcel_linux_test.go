// SPDX-License-Identifier: Apache-2.0

package runc_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/runc"
)

// carried makes what a program carries: a program of that text, and its label. It returns the digest as well.
func carried(t *testing.T, text string) (program, label, digest string) {
	t.Helper()
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	digest = hex.EncodeToString(sum[:])
	return packed.String(), fmt.Sprintf(`{"version": "1.5.2", "seccomp": "2.6.0", "sha256": %q}`, digest), digest
}

// list returns the names under a directory but for the lock's.
func list(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && !info.IsDir() && filepath.Base(name) != "lock" {
			found = append(found, name)
		}
	}
	return found
}

func TestCarried(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "runc")
	program, label, digest := carried(t, "one")
	want := runc.Runc{Path: filepath.Join(dir, digest, "runc"), Version: "1.5.2", Seccomp: "2.6.0", Carried: true}
	find := func(rule string) {
		t.Helper()
		got, err := runc.FindCarried(t.Context(), dir, program, label)
		if err != nil {
			t.Fatalf("%s: %v", rule, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", rule, diff)
		}
		content, err := os.ReadFile(got.Path)
		if err != nil || string(content) != "one" {
			t.Errorf("%s: got %q, %v", rule, content, err)
		}
		if info, err := os.Stat(got.Path); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: mode %v, %v", rule, info.Mode(), err)
		}
		if diff := cmp.Diff([]string{want.Path}, list(t, dir)); diff != "" {
			t.Errorf("%s: %s", rule, diff)
		}
	}
	find("the first time")
	before, err := os.Stat(want.Path)
	if err != nil {
		t.Fatal(err)
	}
	find("the second time")
	if after, err := os.Stat(want.Path); err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("a whole file was written again: %v", err)
	}
	for _, damage := range []struct {
		rule string
		do   func() error
	}{
		{"other content of the same length", func() error { return os.WriteFile(want.Path, []byte("two"), 0o755) }},
		{"no content", func() error { return os.Truncate(want.Path, 0) }},
		{"not to be executed", func() error { return os.Chmod(want.Path, 0o644) }},
		{"setuid", func() error { return unix.Chmod(want.Path, 0o4755) }},
		{"a link", func() error {
			return errors.Join(os.Remove(want.Path), os.Symlink("/nonexistent", want.Path))
		}},
		{"a directory in its place", func() error { return errors.Join(os.Remove(want.Path), os.MkdirAll(want.Path+"/x", 0o755)) }},
		{"left by an unpacking that was killed", func() error {
			return errors.Join(os.Remove(want.Path), os.WriteFile(want.Path+".new", []byte("on"), 0o600))
		}},
		{"an older one beside it", func() error {
			return errors.Join(os.RemoveAll(filepath.Dir(want.Path)), os.MkdirAll(dir+"/00ff", 0o755), os.WriteFile(dir+"/00ff/runc", nil, 0o755),
				os.WriteFile(dir+"/stray", nil, 0o600))
		}},
	} {
		if err := damage.do(); err != nil {
			t.Fatal(err)
		}
		find(damage.rule)
	}
}

func TestCarriedIsPreferred(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "runc", newVersion, keepHelp)
	t.Setenv("PATH", dir)
	program, label, _ := carried(t, "carried")
	got, err := runc.FindCarried(t.Context(), filepath.Join(dir, "state"), program, label)
	if err != nil || !got.Carried {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestSeveralUnpackAtOnce(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("0123456789abcdef", 1<<16)
	program, label, digest := carried(t, text)
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			got, err := runc.FindCarried(t.Context(), dir, program, label)
			if err != nil {
				return err
			}
			content, err := os.ReadFile(got.Path)
			if err == nil && string(content) != text {
				err = fmt.Errorf("%d bytes", len(content))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, digest, "runc")}, list(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestDamagedParcel(t *testing.T) {
	program, label, digest := carried(t, strings.Repeat("one", 1000))
	other, _, _ := carried(t, "two")
	for _, test := range []struct{ rule, program, label string }{
		{"cut off", program[:len(program)/2], label},
		{"another program", other, label},
		{"no archive", "hello", label},
		{"no label", program, ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			dir := t.TempDir()
			_, err := runc.FindCarried(t.Context(), dir, test.program, test.label)
			var mendable interface{ Hint() string }
			if !errors.As(err, &mendable) || !strings.Contains(mendable.Hint(), "download it again") {
				t.Errorf("got %v", err)
			}
			if left := list(t, dir); len(left) > 0 {
				t.Errorf("left %q; digest %s", left, digest)
			}
		})
	}
}

// mounted makes a tmpfs in a mount namespace of the calling test's own, which ends with it.
func mounted(t *testing.T, flags uintptr, options string) string {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv("MAB_E2E") == "all" {
		t.Fatal("mounting needs root")
	}
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	// Never unlocked: the thread ends with the goroutine, and with the thread the namespace.
	runtime.LockOSThread()
	err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", dir, "tmpfs", flags, options))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestPlaces(t *testing.T) {
	program, label, _ := carried(t, strings.Repeat("0123456789abcdef", 1<<16))
	for _, test := range []struct {
		rule    string
		flags   uintptr
		options string
		want    string
		cause   error
	}{
		{"noexec", unix.MS_NOEXEC, "", "its file system is mounted noexec, so no program can be run from there", unix.EACCES},
		{"full", 0, "size=64k", "no space left on device", unix.ENOSPC},
		{"read-only", unix.MS_RDONLY, "", "read-only file system", unix.EROFS},
	} {
		t.Run(test.rule, func(t *testing.T) {
			dir := filepath.Join(mounted(t, test.flags, test.options), "runc")
			_, err := runc.FindCarried(t.Context(), dir, program, label)
			if !errors.Is(err, test.cause) {
				t.Fatalf("got %v", err)
			}
			if text := err.Error(); !strings.HasPrefix(text, fmt.Sprintf("unpacking runc into %q: ", dir)) || !strings.HasSuffix(text, test.want) {
				t.Errorf("got %q", text)
			}
			var mendable interface{ Hint() string }
			if !errors.As(err, &mendable) || !strings.Contains(mendable.Hint(), "another file system with --root or MAB_ROOT") {
				t.Errorf("no hint: %v", err)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*", "runc.new")); err != nil || len(left) > 0 {
				t.Errorf("left %q, %v", left, err)
			}
		})
	}
}
