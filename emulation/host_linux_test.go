// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/emulation"
)

// registered lists the handlers of an instance for an emulator's programs, each with the file that serves it.
func registered(t *testing.T, in emulation.Instance, e emulation.Emulator) []string {
	t.Helper()
	program, _ := emulation.Program(e.Handler.Platforms[0])
	list, err := in.List()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, entry := range list {
		if entry.Matches(program) {
			out = append(out, entry.Name+" "+entry.Interpreter)
		}
	}
	return out
}

// copied is the same emulator in another place.
func copied(t *testing.T, e emulation.Emulator) emulation.Emulator {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(path, contentOf(t, e.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	e.Path = path
	return e
}

// testRefresh runs in an instance that nobody else uses.
func testRefresh(t *testing.T, in emulation.Instance, found []emulation.Emulator) {
	e := foreign(t, found)
	other := copied(t, e)
	run := func(t *testing.T, list []emulation.Emulator, drop bool, changed int, want ...string) {
		t.Helper()
		got, err := emulation.Refresh(t.Context(), in, list, drop)
		if err != nil || len(got) != changed {
			t.Errorf("%v, changed %+v, want %d", err, got, changed)
		}
		if diff := cmp.Diff(want, registered(t, in, e)); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
		if err := emulation.Probe(t.Context(), e.Handler.Platforms[0], ""); (err == nil) != (len(want) > 0) {
			t.Error(err)
		}
	}
	t.Run("a new one is registered", func(t *testing.T) {
		run(t, []emulation.Emulator{e}, false, 1, "qemu-s390x "+e.Path)
	})
	t.Run("nothing is done again", func(t *testing.T) {
		run(t, []emulation.Emulator{e}, true, 0, "qemu-s390x "+e.Path)
	})
	t.Run("one is replaced, and at no moment a program cannot start", func(t *testing.T) {
		// Each round starts the program again, until one fails or it is told to stop.
		busy := exec.Command("/bin/sh", "-c", `while [ ! -e "$1/stop" ]; do "$0" 2>/dev/null; [ $? = 42 ] || exit 1; touch "$1/began"; done`,
			program(t, e.Handler.Platforms[0]), t.TempDir())
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		dir := busy.Args[len(busy.Args)-1]
		for {
			if _, err := os.Stat(filepath.Join(dir, "began")); err == nil {
				break
			}
			if t.Context().Err() != nil {
				t.Fatal(t.Context().Err())
			}
		}
		for range 20 {
			run(t, []emulation.Emulator{other}, true, 1, "qemu-s390x+ "+other.Path)
			run(t, []emulation.Emulator{e}, true, 1, "qemu-s390x "+e.Path)
		}
		if err := os.WriteFile(filepath.Join(dir, "stop"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := busy.Wait(); err != nil {
			t.Errorf("a program did not start: %v", err)
		}
	})
	t.Run("one that is gone stays while it may be needed", func(t *testing.T) {
		run(t, nil, false, 0, "qemu-s390x "+e.Path)
	})
	t.Run("one that is gone goes", func(t *testing.T) { run(t, nil, true, 0) })
}

// testHost registers as on the host, in an instance that is none.
func testHost(t *testing.T, in emulation.Instance, found []emulation.Emulator) {
	e := foreign(t, found)
	link := filepath.Join(t.TempDir(), "qemu-s390x")
	if err := os.Symlink(e.Path, link); err != nil {
		t.Fatal(err)
	}
	mine := emulation.Installed{Emulator: e, Link: link}
	dir := filepath.Join(t.TempDir(), "binfmt.d")
	do := func(t *testing.T, cfg emulation.HostConfig) emulation.HostHandler {
		t.Helper()
		cfg.Emulators, cfg.Dir = []emulation.Installed{mine}, dir
		got, err := emulation.RegisterHost(t.Context(), in, cfg)
		if err != nil || len(got) != 1 {
			t.Fatalf("%v, %+v", err, got)
		}
		return got[0]
	}
	check := func(t *testing.T, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, registered(t, in, e)); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	}
	theirs := e.Handler
	theirs.Name = "docker-s390x"
	t.Run("it has a name of mab's own", func(t *testing.T) {
		if got := do(t, emulation.HostConfig{}); got.Name != "mab-s390x" || got.Other || got.File != "" {
			t.Errorf("%+v", got)
		}
		check(t, "mab-s390x "+link)
	})
	t.Run("it is replaced by itself", func(t *testing.T) {
		if got := do(t, emulation.HostConfig{}); got.Name != "mab-s390x.2" {
			t.Errorf("%+v", got)
		}
		check(t, "mab-s390x.2 "+link)
	})
	t.Run("it lasts if asked to, and that is remembered", func(t *testing.T) {
		file := filepath.Join(dir, "mab-s390x.conf")
		if got := do(t, emulation.HostConfig{Persist: true}); got.File != file {
			t.Errorf("%+v", got)
		}
		if got := do(t, emulation.HostConfig{}); got.File != file {
			t.Errorf("%+v", got)
		}
		_, line, _ := strings.Cut(string(contentOf(t, file)), "\n")
		if list, err := emulation.OwnHost(emulation.Instance{Dir: t.TempDir()}, dir); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", err, list)
		}
		if _, _, err := emulation.UnregisterHost(in, []emulation.Handler{e.Handler}, t.TempDir()); err != nil {
			t.Fatal(err)
		}
		check(t)
		// What systemd-binfmt does with it.
		if err := os.WriteFile(filepath.Join(in.Dir, "register"), []byte(strings.TrimSpace(line)), 0o200); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		check(t, "mab-s390x "+link)
		if err := emulation.Probe(t.Context(), e.Handler.Platforms[0], ""); err != nil {
			t.Error(err)
		}
	})
	t.Run("all is taken back, and what is others' stays", func(t *testing.T) {
		if err := in.Register(theirs, e.Path, "PF"); err != nil {
			t.Fatal(err)
		}
		removed, others, err := emulation.UnregisterHost(in, emulation.Handlers(), dir)
		if diff := cmp.Diff([]string{"mab-s390x", filepath.Join(dir, "mab-s390x.conf")}, removed); err != nil || diff != "" {
			t.Errorf("%v, %s", err, diff)
		}
		if !strings.Contains(strings.Join(others, " "), "docker-s390x") {
			t.Errorf("others: %q", others)
		}
		check(t, "docker-s390x "+e.Path)
	})
	t.Run("what others serve well is left at that", func(t *testing.T) {
		if got := do(t, emulation.HostConfig{}); got.Name != "docker-s390x" || !got.Other {
			t.Errorf("%+v", got)
		}
		check(t, "docker-s390x "+e.Path)
	})
	t.Run("unless mab's is asked for", func(t *testing.T) {
		if got := do(t, emulation.HostConfig{Force: true}); got.Name != "mab-s390x" || got.Other {
			t.Errorf("%+v", got)
		}
		check(t, "docker-s390x "+e.Path, "mab-s390x "+link)
		if _, _, err := emulation.UnregisterHost(in, []emulation.Handler{e.Handler}, dir); err != nil {
			t.Error(err)
		}
	})
	t.Run("what others serve badly is served", func(t *testing.T) {
		if err := in.Unregister(theirs.Name); err != nil {
			t.Fatal(err)
		}
		if err := in.Register(theirs, e.Path, "P"); err != nil {
			t.Fatal(err)
		}
		do(t, emulation.HostConfig{})
		check(t, "docker-s390x "+e.Path, "mab-s390x "+link)
	})
	t.Run("a bad emulator is not left registered", func(t *testing.T) {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, contentOf(t, program(t, e.Handler.Platforms[0])), 0o700); err != nil {
			t.Fatal(err)
		}
		mine := mine
		mine.Link = bad
		if _, err := emulation.RegisterHost(t.Context(), in, emulation.HostConfig{Emulators: []emulation.Installed{mine}, Force: true}); err == nil {
			t.Error("it was taken")
		}
		check(t, "docker-s390x "+e.Path, "mab-s390x "+link)
	})
}
