// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// insideEnv is set in the process that is pid 1 of namespaces of its own.
const insideEnv = "MAB_TEST_INSIDE"

// hostState is what must be the same before and after.
type hostState struct {
	Entries []emulation.Entry
	Visible bool
	Runs    []bool
}

func readHost(t *testing.T) hostState {
	t.Helper()
	var s hostState
	in := emulation.Instance{Dir: emulation.HostDir}
	if _, err := in.Enabled(); err == nil {
		s.Visible = true
		if s.Entries, err = in.List(); err != nil {
			t.Fatal(err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, p := range platforms.Known() {
		s.Runs = append(s.Runs, emulation.Probe(t.Context(), p, "") == nil)
	}
	return s
}

// TestPrivateInstance starts itself again as pid 1 of its own user, mount and PID namespace, and compares the host before, meanwhile
// and after.
func TestPrivateInstance(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		testInside(t)
		return
	}
	found, _, err := emulation.Find(emulation.FindConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		missing(t, "no QEMU")
	}
	before := readHost(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestPrivateInstance$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), insideEnv+"=1", "TMPDIR=/tmp")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	groups := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	if os.Getuid() == 0 {
		ids = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1<<32 - 1}}
		groups = ids
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: ids, GidMappings: groups, GidMappingsEnableSetgroups: os.Getuid() == 0,
		Pdeathsig: unix.SIGKILL,
	}
	runtime.LockOSThread() // The signal comes when the thread ends, not the process.
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	t.Logf("inside:\n%s", out)
	exit := (*exec.ExitError)(nil)
	switch {
	case err != nil && !errors.As(err, &exit):
		missing(t, "no namespaces: "+err.Error())
	case err != nil:
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, readHost(t)); diff != "" {
		t.Error("the host changed:", diff)
	}
}

func testInside(t *testing.T) {
	// Of what is written here nothing remains.
	if err := unix.Mount("none", "/tmp", "tmpfs", 0, "mode=1777"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in, err := emulation.MountPrivate(dir)
	if err != nil {
		missing(t, err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	found, _, err := emulation.Find(emulation.FindConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	t.Run("it is empty and hides the host's", func(t *testing.T) {
		entries, err := in.List()
		if err != nil || len(entries) != 0 {
			t.Errorf("%v, %v", entries, err)
		}
		if err := emulation.Probe(ctx, foreign(t, found).Handler.Platforms[0], ""); !errors.Is(err, emulation.ErrCannotRun) {
			t.Errorf("a foreign program: %v", err)
		}
	})
	t.Run("what cannot be registered is told", func(t *testing.T) {
		e := foreign(t, found)
		registered, err := emulation.RegisterAll(ctx, emulation.Instance{Dir: t.TempDir()}, []emulation.Emulator{e})
		if !errors.Is(err, fs.ErrNotExist) || len(registered) != 0 {
			t.Errorf("%v, %v", registered, err)
		}
	})
	t.Run("every foreign architecture is registered", func(t *testing.T) { testRegisterAll(t, in, found) })
	t.Run("survey", func(t *testing.T) { testSurvey(t, in, found) })
	t.Run("a memory file is not needed", func(t *testing.T) { testProbeByFile(t, found) })
	t.Run("argv[0] is kept", func(t *testing.T) { testArgv0(t, found) })
	t.Run("setuid", func(t *testing.T) { testSetuid(t, in, found) })
	t.Run("answers of a handler", func(t *testing.T) { testAnswers(t, in, found) })
	t.Run("the emulator's file is not needed", func(t *testing.T) { testFileRemoved(t, in, found) })
	t.Run("unregistering", func(t *testing.T) {
		e := foreign(t, found)
		if err := in.Unregister(e.Handler.Name); err != nil {
			t.Fatal(err)
		}
		if err := emulation.Probe(ctx, e.Handler.Platforms[0], ""); !errors.Is(err, emulation.ErrCannotRun) {
			t.Error(err)
		}
	})
	t.Run("refreshing", func(t *testing.T) { testRefresh(t, in, found) })
	t.Run("the host's handlers", func(t *testing.T) { testHost(t, in, found) })
}

// foreign returns an emulator whose programs no CPU here runs, s390x if it is there.
func foreign(t *testing.T, found []emulation.Emulator) emulation.Emulator {
	t.Helper()
	i := slices.IndexFunc(found, func(e emulation.Emulator) bool { return e.Handler.QEMU == "s390x" })
	if i < 0 {
		missing(t, "no qemu-s390x")
	}
	return found[i]
}

func testRegisterAll(t *testing.T, in emulation.Instance, found []emulation.Emulator) {
	native := map[string]bool{}
	var want []string
	for _, e := range found {
		if emulation.Probe(t.Context(), e.Handler.Platforms[0], "") == nil {
			native[e.Handler.Name] = true
			continue
		}
		want = append(want, e.Handler.Name)
	}
	registered, err := emulation.RegisterAll(t.Context(), in, found)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range registered {
		got = append(got, e.Handler.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	entries, err := in.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if native[e.Name] || !e.Enabled || e.Flags != "POCF" {
			t.Errorf("entry %+v", e)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("%d entries, want %d", len(entries), len(want))
	}
	if again, err := emulation.RegisterAll(t.Context(), in, found); err != nil || len(again) != 0 {
		t.Errorf("a second time: %v, %v", again, err)
	}
	if err := in.Register(registered[0].Handler, registered[0].Path, emulation.Flags); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
}

func testSurvey(t *testing.T, in emulation.Instance, found []emulation.Emulator) {
	start := time.Now()
	list, err := emulation.Survey(t.Context(), emulation.SurveyConfig{Instance: in, SkipVersions: true})
	t.Logf("%d platforms took %v", len(list), time.Since(start))
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	list, err = emulation.Survey(t.Context(), emulation.SurveyConfig{Instance: in})
	t.Logf("with versions %v", time.Since(start))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		h, _ := emulation.HandlerFor(s.Platform)
		i := slices.IndexFunc(found, func(e emulation.Emulator) bool { return e.Handler.Name == h.Name })
		switch {
		case s.How == emulation.Native:
			if s.Handler != "" || s.Problem != "" || s.Instance != "" {
				t.Errorf("%+v", s)
			}
		case i >= 0 && s.Platform == h.Platforms[0]:
			want := emulation.Support{
				Platform: s.Platform, How: emulation.Emulated, Instance: "private", Handler: h.Name, Interpreter: found[i].Path,
				Flags: "POCF", Version: s.Version, Probe: "ok", ProbeMS: s.ProbeMS,
			}
			if diff := cmp.Diff(want, s); diff != "" || s.Version == "" {
				t.Error(diff, "version", s.Version)
			}
		case s.How == emulation.None && s.Problem == "":
			t.Errorf("%+v", s)
		}
	}
}

// testProbeByFile takes /proc away for a while, by which a memory file is executed.
func testProbeByFile(t *testing.T, found []emulation.Emulator) {
	if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount("/proc", 0); err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	if err := emulation.Probe(t.Context(), foreign(t, found).Handler.Platforms[0], dir); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := emulation.Probe(t.Context(), platforms.Host(), filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

// link390 makes a program of s390x with this machine code.
func link390(t *testing.T, code string) string {
	t.Helper()
	row, _ := platforms.MustParse("s390x").ELF()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, emulation.Link(row, []byte(code)), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func testArgv0(t *testing.T, found []emulation.Emulator) {
	foreign(t, found)
	// At the start %r15 points to argc, argv[0], ...: lg %r2,8(%r15); llgc %r2,0(%r2); svc 1 exits with argv[0]'s first byte.
	path := link390(t, "\xe3\x20\xf0\x08\x00\x04\xe3\x20\x20\x00\x00\x90\x0a\x01")
	cmd := exec.Command(path)
	cmd.Args = []string{"busybox"}
	_ = cmd.Run() // Its status is what counts.
	if got := cmd.ProcessState.ExitCode(); got != 'b' {
		t.Errorf("argv[0] begins with %q", rune(got))
	}
}

func testSetuid(t *testing.T, in emulation.Instance, found []emulation.Emulator) {
	e := foreign(t, found)
	const user = 77
	run := func(path string) int {
		cmd := exec.Command(path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, NoSetGroups: true}}
		err := cmd.Run()
		if errors.Is(err, unix.EINVAL) {
			missing(t, "only one user id is mapped")
		}
		if cmd.ProcessState == nil {
			t.Log(err)
			return -1
		}
		return cmd.ProcessState.ExitCode()
	}
	// svc 201 (geteuid); svc 1 exits with the effective user id.
	path := link390(t, "\x0a\xc9\x0a\x01")
	for dir := filepath.Dir(path); dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for flags, want := range map[string]int{emulation.Flags: 0, "PF": user} {
		if err := in.Unregister(e.Handler.Name); err != nil {
			t.Fatal(err)
		}
		if err := in.Register(e.Handler, e.Path, flags); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
			t.Fatal(err)
		}
		if got := run(path); got != want {
			t.Errorf("flags %s: effective user id %d, want %d", flags, got, want)
		}
		// Without O QEMU has to read the file itself, as the user.
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
		if got := run(path); (got == user) != (flags == emulation.Flags) {
			t.Errorf("flags %s: an unreadable program ends with %d", flags, got)
		}
	}
}

func testAnswers(t *testing.T, in emulation.Instance, found []emulation.Emulator) {
	e := foreign(t, found)
	for script, want := range map[string]string{
		"exit 0":               "probing linux/s390x: the program ended with status 0",
		"exit 3":               "probing linux/s390x: the program ended with exit status 3",
		"exit 42":              "",
		"exit 43":              "probing linux/s390x: exec format error: the CPU lacks instructions",
		"kill -SEGV $$":        "probing linux/s390x: the program ended with signal: segmentation fault",
		"while :; do :; done":  "probing linux/s390x: the program did not end: context deadline exceeded",
		"[ -z \"$QEMU_CPU\" ]": "probing linux/s390x: the program ended with status 0",
	} {
		path := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := in.Unregister(e.Handler.Name); err != nil {
			t.Fatal(err)
		}
		// With C or O the kernel takes no script for an interpreter.
		if err := in.Register(e.Handler, path, "PF"); err != nil {
			t.Fatal(err)
		}
		t.Setenv("QEMU_CPU", "max")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		got := ""
		if err := emulation.Probe(ctx, e.Handler.Platforms[0], ""); err != nil {
			got = err.Error()
		}
		cancel()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", script, diff)
		}
	}
}

func testFileRemoved(t *testing.T, in emulation.Instance, found []emulation.Emulator) {
	e := foreign(t, found)
	data, err := os.ReadFile(e.Path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(copied, data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := in.Unregister(e.Handler.Name); err != nil {
		t.Fatal(err)
	}
	if err := in.Register(e.Handler, copied, emulation.Flags); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(copied); err != nil {
		t.Fatal(err)
	}
	if err := emulation.Probe(t.Context(), e.Handler.Platforms[0], ""); err != nil {
		t.Error(err)
	}
	if err := in.Unregister(e.Handler.Name); err != nil {
		t.Fatal(err)
	}
	if err := in.Register(e.Handler, copied, "P"); err != nil {
		t.Fatal(err)
	}
	list, err := emulation.Survey(context.Background(), emulation.SurveyConfig{Instance: in, SkipVersions: true})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s emulation.Support) bool { return s.Handler == e.Handler.Name })
	if want := "handler qemu-s390x points to " + copied + ", which is missing"; list[i].Problem != want {
		t.Errorf("problem %q, want %q", list[i].Problem, want)
	}
}

func TestMountPrivateOutside(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		t.Skip("inside")
	}
	ns, err := os.Readlink("/proc/self/ns/user")
	if err != nil || ns != "user:[4026531837]" {
		t.Skipf("not in the initial user namespace: %s, %v", ns, err)
	}
	_, err = emulation.MountPrivate(t.TempDir())
	var mount *emulation.MountError
	if !errors.As(err, &mount) || mount.Hint() == "" || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("in the host's namespace: %v", err)
	}
}
