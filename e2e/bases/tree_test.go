// SPDX-License-Identifier: Apache-2.0

package bases_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/bases"
)

func TestCanonical(t *testing.T) {
	for name, want := range map[string]string{
		"./bin/sh":              "usr/bin/sh",
		"/sbin/ldconfig":        "usr/bin/ldconfig",
		"usr/sbin/chroot":       "usr/bin/chroot",
		"./lib/x/libc.so.6":     "usr/lib/x/libc.so.6",
		"lib64/ld64.so.2":       "usr/lib64/ld64.so.2",
		"./usr/local/sbin/tool": "usr/local/sbin/tool",
		"./bin/":                "bin",
		"../../etc/passwd":      "etc/passwd",
	} {
		if got := bases.Canonical(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestRelative(t *testing.T) {
	for _, test := range []struct{ rule, original, target, want string }{
		{"within a directory", "./usr/lib/libz.so.1", "libz.so.1.2", "libz.so.1.2"},
		{"absolute", "./usr/lib/x/libm.so", "/lib/x/libm.so.6", "libm.so.6"},
		{"from a directory that moves", "./lib64/ld.so.2", "/lib/x/ld.so.2", "../lib/x/ld.so.2"},
		{"up from a directory that moves", "./lib/ld.so.1", "../usr/share/x", "../share/x"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := bases.Relative(test.original, test.target); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// packed is a package's tar with the entries in this order.
func packed(t *testing.T, entries ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range entries {
		header.ModTime = time.Unix(1e9, 0)
		header.Uid, header.Uname = 7, "someone"
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, header.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestRepack(t *testing.T) {
	program := tar.Header{Typeflag: tar.TypeReg, Name: "./bin/su", Mode: 0o4755, Size: 3}
	library := tar.Header{Typeflag: tar.TypeSymlink, Name: "./usr/lib/b/libx.so", Linkname: "/lib/b/libx.so.1"}
	manual := tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/man/su.1", Mode: 0o644, Size: 9}
	alias := tar.Header{Typeflag: tar.TypeLink, Name: "./usr/bin/su2", Linkname: "./bin/su"}
	keep := []string{"usr/bin/su*", "usr/lib/b/*"}

	var layer bytes.Buffer
	if err := bases.Repack(&layer, packed(t, program, library, manual, alias), keep); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"usr/ 755 0", "usr/bin/ 755 0", "usr/bin/su 4755 3", "usr/bin/su2 4755 3",
		"usr/lib/ 755 0", "usr/lib/b/ 755 0", "usr/lib/b/libx.so 777 0 -> libx.so.1",
	}
	if diff := cmp.Diff(want, listing(t, layer.Bytes())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	t.Run("the order of the package does not matter", func(t *testing.T) {
		var other bytes.Buffer
		if err := bases.Repack(&other, packed(t, manual, program, alias, library), keep); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(layer.Bytes(), other.Bytes()) {
			t.Error("other bytes")
		}
	})
	t.Run("a link between two names that are one does not hide the file", func(t *testing.T) {
		var other bytes.Buffer
		link := tar.Header{Typeflag: tar.TypeSymlink, Name: "./usr/sbin/su", Linkname: "../bin/su"}
		if err := bases.Repack(&other, packed(t, program, link, alias, library), keep); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(layer.Bytes(), other.Bytes()) {
			t.Error("other bytes")
		}
	})
	t.Run("a pattern that covers nothing is an error", func(t *testing.T) {
		err := bases.Repack(io.Discard, packed(t, program), []string{"usr/bin/su", "usr/bin/sudo"})
		if err == nil || err.Error() != `no file "usr/bin/sudo"` {
			t.Errorf("got %v", err)
		}
	})
}

// listing describes each entry of a layer, and fails if one is not owned by root or not dated 1970.
func listing(t *testing.T, layer []byte) []string {
	t.Helper()
	var list []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Uname != "" || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: owner %d %q, time %s", header.Name, header.Uid, header.Uname, header.ModTime)
		}
		line := fmt.Sprintf("%s %o %d", header.Name, header.Mode, header.Size)
		if header.Linkname != "" {
			line += " -> " + header.Linkname
		}
		list = append(list, line)
	}
}

func TestApplets(t *testing.T) {
	got, err := bases.Applets([]byte("\x7fELF [ \x00x[\x00[[\x00ar\x00sh\x00\x00more\x00"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"[", "[[", "ar", "sh"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for rule, program := range map[string]string{"no table": "\x7fELF", "no end": "[\x00[[\x00ar"} {
		if got, err := bases.Applets([]byte(program)); err == nil {
			t.Errorf("%s: got %q and no error", rule, got)
		}
	}
}
