// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// What Linux 6.18 writes for an entry.
const s390xEntry = `enabled
interpreter /usr/bin/qemu-s390x-static
flags: POCF
offset 0
magic 7f454c4602020100000000000000000000020016
mask fffffffffffffffcfffffffffffffffffffeffff
`

// directory makes a directory with these files, which has the form of an instance.
func directory(t *testing.T, files map[string]string) emulation.Instance {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return emulation.Instance{Dir: dir}
}

func handlerFor(t *testing.T, name string) emulation.Handler {
	t.Helper()
	h, ok := emulation.HandlerFor(platforms.MustParse(name))
	if !ok {
		t.Fatalf("no handler for %s", name)
	}
	return h
}

func TestList(t *testing.T) {
	in := directory(t, map[string]string{
		"register": "", "status": "enabled\n", "qemu-s390x": s390xEntry,
		"python3.11": "disabled\ninterpreter /usr/bin/python3.11\nflags: \noffset 0\nmagic a70d0d0a\n",
		"jar":        "enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n",
		"later":      "enabled\ninterpreter /x y\nflags: F\nnovelty of 7.5\noffset 4\nmagic 00\n",
	})
	got, err := in.List()
	if err != nil {
		t.Fatal(err)
	}
	h := handlerFor(t, "s390x")
	want := []emulation.Entry{
		{Name: "jar", Enabled: true, Interpreter: "/usr/bin/jexec", Extension: "jar"},
		{Name: "later", Enabled: true, Interpreter: "/x y", Flags: "F", Offset: 4, Magic: []byte{0}},
		{Name: "python3.11", Interpreter: "/usr/bin/python3.11", Magic: []byte{0xa7, 0x0d, 0x0d, 0x0a}},
		{Name: "qemu-s390x", Enabled: true, Interpreter: "/usr/bin/qemu-s390x-static", Flags: "POCF", Magic: h.Magic, Mask: h.Mask},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got[0].Matches([]byte("any file at all, for its name is what counts")) {
		t.Error("an entry without magic matches by content")
	}
	if !got[1].Matches([]byte("abcd\x00")) || got[1].Matches([]byte("abcd")) || got[1].Matches([]byte("\x00bcde")) {
		t.Error("the offset is not kept")
	}
}

func TestInstanceStates(t *testing.T) {
	for text, want := range map[string]bool{"enabled\n": true, "disabled\n": false} {
		if got, err := directory(t, map[string]string{"status": text}).Enabled(); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := directory(t, nil).Enabled(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not mounted: %v", err)
	}
	if _, err := (emulation.Instance{Dir: "/nowhere"}).List(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if got, err := directory(t, map[string]string{"x": "perhaps\n"}).List(); err == nil {
		t.Errorf("an entry in an unknown state is read as %v", got)
	}
}

func TestRegister(t *testing.T) {
	h := handlerFor(t, "s390x")
	magic := `\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16`
	mask := `\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff`
	for path, want := range map[string]string{
		"/usr/bin/qemu-s390x-static": ":qemu-s390x:M:0:" + magic + ":" + mask + ":/usr/bin/qemu-s390x-static:PCF",
		"/opt/a:b/qemu":              ",qemu-s390x,M,0," + magic + "," + mask + ",/opt/a:b/qemu,PCF",
	} {
		in := directory(t, map[string]string{"register": ""})
		if err := in.Register(h, path, emulation.Flags); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(in.Dir, "register"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Error(diff)
		}
	}
	in := directory(t, map[string]string{"register": ""})
	for _, path := range []string{"qemu-s390x", "", "/a:b,c;d|e"} {
		if err := in.Register(h, path, "F"); err == nil {
			t.Errorf("path %q is registered", path)
		}
	}
	if err := directory(t, nil).Register(h, "/qemu", "F"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into what is no instance: %v", err)
	}
}

func TestUnregister(t *testing.T) {
	in := directory(t, map[string]string{"qemu-s390x": "", "status": "", "register": ""})
	if err := in.Unregister("qemu-s390x"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(in.Dir, "qemu-s390x")); string(got) != "-1" {
		t.Errorf("written: %q", got)
	}
	// -1 in status would remove every handler of the instance.
	for _, name := range []string{"status", "register", "", "../x", "qemu-arm"} {
		if err := in.Unregister(name); err == nil {
			t.Errorf("%q was unregistered", name)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(s390xEntry)
	f.Add("disabled\ninterpreter \nflags: \nextension .jar\n")
	f.Add("enabled\noffset -1\nmagic zz\nmask f")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := emulation.ParseEntry("x", text)
		if err != nil {
			return
		}
		e.Matches([]byte(text)) // Must not panic, whatever offset, magic and mask are.
		if len(e.Magic) > 0 && !strings.Contains(strings.ToLower(text), "magic "+hex.EncodeToString(e.Magic)) {
			t.Errorf("magic %x is not in %q", e.Magic, text)
		}
	})
}
