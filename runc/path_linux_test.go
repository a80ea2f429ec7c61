// SPDX-License-Identifier: Apache-2.0

package runc_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/runc"
)

// The forms of what programs print, as they do.
const (
	keepHelp = `OPTIONS:
   --bundle value, -b value  path to the root of the bundle directory, defaults to the current directory
   --keep                    do not delete the container after it exits
   --no-new-keyring          do not create a new session keyring`
	noKeepHelp = `OPTIONS:
   --bundle value, -b value  path to the root of the bundle directory, defaults to the current directory
   --no-new-keyring          do not create a new session keyring`

	debianVersion = `runc version 1.1.5+ds1
commit: 1.1.5+ds1-1+deb12u1
spec: 1.0.2-dev
go: go1.19.8
libseccomp: 2.5.4`
	newVersion = `runc version 1.5.2
spec: 1.3.0
go: go1.26.8
libseccomp: 2.6.0`
	oldVersion = `runc version 1.0.3
commit: v1.0.3-0-gf46b6ba2
spec: 1.0.2-dev
go: go1.17.3
libseccomp: 2.5.1`
	bareVersion = `runc version 1.5.2
spec: 1.3.0
go: go1.26.8`
	oldCrunVersion = `crun version 1.8.1
commit: f8a096be060b22ccd3d5f3ebe44108517fbf6c30
rundir: /run/crun
spec: 1.0.0
+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +YAJL`
	newCrunVersion = `crun version 1.18.2
commit: 00ab38af875ddd0d1a8226addda52e1de18339b5
spec: 1.0.0
+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +CRIU +YAJL`
	bareCrunVersion = `crun version 1.18.2
spec: 1.0.0
+SYSTEMD +CAP -SECCOMP +EBPF +YAJL`
)

// install makes a program that answers --version and run --help.
func install(t *testing.T, dir, name, version, help string) string {
	t.Helper()
	return script(t, dir, name, "case $1 in\n--version) cat <<'EOF'\n"+version+"\nEOF\n;;\nrun) cat <<'EOF'\n"+help+"\nEOF\nesac\n")
}

func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindInPath(t *testing.T) {
	for _, test := range []struct {
		rule, version, help string
		want                runc.Runc
		wantErr             string // after the quoted path; empty: none
	}{
		{rule: "Debian's runc", version: debianVersion, help: keepHelp, want: runc.Runc{Version: "1.1.5+ds1", Seccomp: "2.5.4"}},
		{rule: "runc of today", version: newVersion, help: keepHelp, want: runc.Runc{Version: "1.5.2", Seccomp: "2.6.0"}},
		{rule: "crun with --keep", version: newCrunVersion, help: keepHelp, want: runc.Runc{Version: "crun 1.18.2", Seccomp: "yes"}},
		{rule: "runc too old", version: oldVersion, help: noKeepHelp, wantErr: ` is runc 1.0.3, which has no "run --keep" (runc has it from 1.1, crun from 1.15)`},
		{rule: "crun too old", version: oldCrunVersion, help: noKeepHelp, wantErr: ` is crun 1.8.1, which has no "run --keep" (runc has it from 1.1, crun from 1.15)`},
		{rule: "runc without seccomp", version: bareVersion, help: keepHelp, wantErr: " is runc 1.5.2 without seccomp, which every step needs"},
		{rule: "crun without seccomp", version: bareCrunVersion, help: keepHelp, wantErr: " is crun 1.18.2 without seccomp, which every step needs"},
		{rule: "something else", version: "hello", help: keepHelp, wantErr: ` is no runc: its --version says "hello\n"`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			dir := t.TempDir()
			path := install(t, dir, "runc", test.version, test.help)
			got, err := runc.Find(t.Context(), runc.Config{Path: "/nonexistent:" + dir})
			if test.wantErr != "" {
				checkError(t, err, `finding runc: "`+path+`"`+test.wantErr)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want.Path = path
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// checkError holds an error's text, and that it has a hint which says what to install.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	var mendable interface{ Hint() string }
	if !errors.As(err, &mendable) || !strings.Contains(mendable.Hint(), "apt-get install runc") {
		t.Errorf("no hint on what to install: %#v", err)
	}
}

func TestLookUp(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	path := first + ":" + second
	_, err := runc.Find(t.Context(), runc.Config{Path: path})
	checkError(t, err, "finding runc: none in PATH ("+path+")")

	// Neither a directory nor a file that may not be executed is a program.
	if err := os.Mkdir(filepath.Join(first, "runc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(second, "buildkit-runc"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want := install(t, second, "runc", newVersion, keepHelp)
	find := func() string {
		t.Helper()
		got, err := runc.Find(t.Context(), runc.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return got.Path
	}
	t.Setenv("PATH", path+":"+os.Getenv("PATH"))
	if got := find(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := os.Remove(filepath.Join(second, "buildkit-runc")); err != nil {
		t.Fatal(err)
	}
	want = install(t, second, "buildkit-runc", newVersion, keepHelp)
	if got := find(); got != want {
		t.Errorf("BuildKit prefers %q, got %q", want, got)
	}
}

func TestProgramThatFails(t *testing.T) {
	dir := t.TempDir()
	path := script(t, dir, "runc", "echo cannot open shared object >&2; exit 127\n")
	_, err := runc.Find(t.Context(), runc.Config{Path: dir})
	if err == nil || !strings.HasPrefix(err.Error(), `finding runc: running "`+path) || !strings.Contains(err.Error(), `(it says "cannot open shared object"): exit status 127`) {
		t.Errorf("got %v", err)
	}
}

func TestProgramThatHangs(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "runc", "exec sleep 60\n")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := runc.Find(ctx, runc.Config{Path: dir})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
