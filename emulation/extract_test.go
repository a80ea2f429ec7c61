// SPDX-License-Identifier: Apache-2.0

//go:build linux

package emulation_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/emulation"
)

// pax makes a layer of one file that has records, which archive/tar does not write if they are GNU's.
func pax(t *testing.T, name string, content []byte, records map[string]string) []byte {
	t.Helper()
	masked := map[string]string{}
	for key, value := range records {
		masked[strings.Replace(key, "GNU.", "XNU.", 1)] = value
	}
	m := file(name, content)
	m.PAXRecords = masked
	return bytes.ReplaceAll(layer(t, m), []byte("XNU."), []byte("GNU."))
}

// oldSparse makes a layer of one file that is a hole of size bytes, as GNU tar did before there were PAX records.
func oldSparse(t *testing.T, name string, size int) []byte {
	t.Helper()
	out := layer(t, file(name, nil))
	out[156] = tar.TypeGNUSparse
	copy(out[257:], "ustar  \x00")
	clear(out[265:512])
	copy(out[386:], fmt.Sprintf("%011o\x00%011o\x00", size, 0))
	copy(out[483:], fmt.Sprintf("%011o\x00", size))
	copy(out[148:], "        ")
	sum := 0
	for _, b := range out[:512] {
		sum += int(b)
	}
	copy(out[148:], fmt.Sprintf("%06o\x00 ", sum))
	return out
}

func TestHoles(t *testing.T) {
	const path = "usr/bin/qemu-" + guest
	const size = 1 << 20
	for _, test := range []struct {
		rule  string
		layer []byte
		want  string
	}{
		{"by its type", oldSparse(t, path, size), "is a sparse file"},
		{"by records of version 0.1", pax(t, path, nil, map[string]string{
			"GNU.sparse.numblocks": "1", "GNU.sparse.map": fmt.Sprintf("%d,0", size), "GNU.sparse.size": fmt.Sprint(size),
		}), "is a sparse file"},
		{"by records of version 1.0", pax(t, "usr/bin/GNUSparseFile.1/x", append(fmt.Appendf(nil, "1\n%d\n0\n", size), make([]byte, 512)...)[:512], map[string]string{
			"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": path, "GNU.sparse.realsize": fmt.Sprint(size),
		}), "is a sparse file"},
		{"one that is not unpacked", oldSparse(t, "usr/share/x", size), "it lacks emulators"},
		{"a size above the bound", layer(t, member{Header: tar.Header{Name: path, Size: 3 << 20}}), "unpacks to more than 2097152 bytes"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			store := emulation.Store{Dir: t.TempDir()}
			_, err := store.Install(t.Context(), emulation.InstallConfig{Image: image(t, test.layer), Handlers: want(t, guest), MaxUnpacked: 2 << 20})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestReplacedFilesGo(t *testing.T) {
	const path = "usr/bin/qemu-" + guest
	plain := layer(t, file(path, []byte("below")))
	for _, test := range []struct {
		rule   string
		layers [][]byte
		want   []string
	}{
		{"by a later entry", [][]byte{layer(t, file(path, []byte("a")), file(path, []byte("b")), file(path, []byte("c")))}, []string{"c"}},
		{"by a later layer", [][]byte{plain, layer(t, file(path, []byte("above")))}, []string{"above"}},
		{"by a whiteout", [][]byte{plain, layer(t, file("usr/bin/.wh.qemu-"+guest, nil))}, nil},
		{"by a directory's whiteout", [][]byte{plain, layer(t, file("usr/.wh.bin", nil))}, nil},
		{"by an opaque directory", [][]byte{plain, layer(t, file("usr/bin/.wh..wh..opq", nil))}, nil},
		{"by a file for the directory", [][]byte{plain, layer(t, file(path, []byte("above")), file("usr/bin", nil))}, nil},
		{"not by another name", [][]byte{plain, layer(t, file(path+"-static", []byte("above")))}, []string{"above", "below"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			dir := t.TempDir()
			files, err := emulation.Extract(dir, test.layers...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			unpacked, err := filepath.Glob(filepath.Join(dir, "*"))
			for _, path := range unpacked {
				got = append(got, string(contentOf(t, path)))
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" || len(files) != len(got) {
				t.Errorf("%v, %q; want -, got +:\n%s", err, files, diff)
			}
		})
	}
}

// TestInstallHints: what there is to do depends on what is wrong with the image.
func TestInstallHints(t *testing.T) {
	const path = "usr/bin/qemu-" + guest
	script := image(t, layer(t, file(path, []byte("#!/bin/sh\nexit 42\n"+strings.Repeat("#", 100)))))
	packed := func(name string, begin ...byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, append(begin, make([]byte, 1024)...), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole := filepath.Join(t.TempDir(), "image.tar.gz")
	if err := os.WriteFile(whole, gzipped(t, contentOf(t, strings.TrimPrefix(archive(t, script), "oci-archive://"))), 0o600); err != nil {
		t.Fatal(err)
	}
	other := packed("image.tar.zst", 0x28, 0xb5, 0x2f, 0xfd)
	for _, test := range []struct{ rule, image, want string }{
		{"a layout that is nowhere", "oci-layout:///nowhere", "make a layout where there is a network: skopeo copy --all docker://docker.io/tonistiigi/binfmt:"},
		{"an archive that is nowhere", "oci-archive:///nowhere", "make a layout where there is a network: skopeo copy --all docker://docker.io/tonistiigi/binfmt:"},
		{"a tag that the layout lacks", script + ":v1", "copy it anew where there is a network, or name another image; mab's default is docker.io/"},
		{"an emulator that is none", script, "this is no image of emulators, or somebody tampered with it; mab's default is docker.io/"},
		{"an archive by gzip", "oci-archive://" + whole, "unpack it first: gzip -d " + whole},
		{"an archive by zstd", "oci-archive://" + other, "unpack it first: zstd -d " + other},
		{"an archive of something else", "oci-archive://" + packed("image.tar", 'x'), "copy it anew where"},
		{"no reference", "Foo", "names are lower-case letters, digits, and . _ - between them; tags up to 128 letters, digits, . _ -"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, err := emulation.Store{Dir: t.TempDir()}.Install(t.Context(), emulation.InstallConfig{Image: test.image, Handlers: want(t, guest)})
			var bad *emulation.ImageError
			if !errors.As(err, &bad) {
				t.Fatal(err)
			}
			if !strings.HasPrefix(bad.Hint(), test.want) {
				t.Errorf("%v: hint %q, want %q", err, bad.Hint(), test.want)
			}
		})
	}
}
