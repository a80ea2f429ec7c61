// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

func TestForeignPrograms(t *testing.T) {
	amd64, arm64, i386 := program{}.bytes(t), program{platform: "arm64"}.bytes(t), program{platform: "386"}.bytes(t)
	v5, _ := platforms.MustParse("arm/v5").ELF()
	v7, hard := v5, v5
	hard.Flags |= 0x400
	x32, _ := platforms.MustParse("amd64").ELF()
	x32.Class = elf.ELFCLASS32
	file := func(name string, content []byte) member { return member{name: name, content: content} }
	for _, test := range []struct {
		rule, platform string
		layers         [][]member
		want           []string
	}{
		{"a program of the platform", "amd64", [][]member{{file("bin/a", amd64)}}, nil},
		{"a program of another", "arm64", [][]member{{file("bin/a", amd64)}}, []string{"/bin/a"}},
		{"a shared object of another", "arm64", [][]member{{file("usr/lib/liba.so", program{kind: elf.ET_DYN}.bytes(t))}}, []string{"/usr/lib/liba.so"}},
		{"a library directory of the other platform", "arm64", [][]member{{file("usr/lib/aarch64-linux-gnu/a.so", arm64), file("usr/lib/x86_64-linux-gnu/a.so", amd64)}}, []string{"/usr/lib/x86_64-linux-gnu/a.so"}},
		{"386 runs on amd64", "amd64", [][]member{{file("bin/a", i386)}}, nil},
		{"amd64 does not run on 386", "386", [][]member{{file("bin/a", amd64)}}, []string{"/bin/a"}},
		{"x32 does not run on amd64", "amd64", [][]member{{file("bin/a", program{row: x32}.bytes(t))}}, []string{"/bin/a"}},
		{"another system", "amd64", [][]member{{file("bin/a", program{osabi: elf.ELFOSABI_FREEBSD}.bytes(t))}}, []string{"/bin/a"}},
		{"v7 code in v6", "arm/v6", [][]member{{file("bin/a", program{row: v7, cpu: 10}.bytes(t))}}, []string{"/bin/a"}},
		{"v6 code in v7", "arm/v7", [][]member{{file("bin/a", program{row: v5, cpu: 6}.bytes(t))}}, nil},
		{"v8 code in v7", "arm/v7", [][]member{{file("bin/a", program{row: v7, cpu: 14}.bytes(t))}}, []string{"/bin/a"}},
		{"hard float in v5", "arm/v5", [][]member{{file("bin/a", program{row: hard, cpu: 4}.bytes(t))}}, []string{"/bin/a"}},
		{"hard float in v6", "arm/v6", [][]member{{file("bin/a", program{row: hard, cpu: 6}.bytes(t))}}, nil},
		{"removed later", "arm64", [][]member{{file("bin/a", amd64)}, {file("bin/.wh.a", nil)}}, nil},
		{"replaced later", "arm64", [][]member{{file("bin/a", amd64)}, {file("bin/a", arm64)}}, nil},
		{"a directory removed later", "arm64", [][]member{{file("opt/b/a", amd64)}, {file(".wh.opt", nil)}}, nil},
		{"a directory made anew", "arm64", [][]member{{file("opt/a", amd64)}, {file("opt/.wh..wh..opq", nil), file("opt/b", amd64)}}, []string{"/opt/b"}},
		{"a whiteout leaves its own layer alone", "arm64", [][]member{{file("opt/a", arm64)}, {file("opt/a", amd64), file("opt/.wh.a", nil)}}, []string{"/opt/a"}},
		{"a removed name of two", "arm64", [][]member{{file("a", amd64), {name: "b", link: "a", typeflag: tar.TypeLink}}, {file(".wh.a", nil)}}, []string{"/b"}},
		{"a file of two names is told once", "arm64", [][]member{{file("a", amd64), {name: "b", link: "a", typeflag: tar.TypeLink}}}, []string{"/a"}},
		{"a symlink is no file", "arm64", [][]member{{{name: "a", link: "b", typeflag: tar.TypeSymlink}}}, nil},
		{"written through a symlink of directories", "arm64", [][]member{{{name: "lib", link: "usr/lib", typeflag: tar.TypeSymlink}}, {file("lib/a.so", amd64)}}, []string{"/usr/lib/a.so"}},
		{"removed through a symlink of directories", "arm64", [][]member{{{name: "lib", link: "/usr/lib", typeflag: tar.TypeSymlink}, file("usr/lib/a", amd64)}, {file("lib/.wh.a", nil)}}, nil},
		{"a path that leads out", "arm64", [][]member{{file("../../a", amd64)}}, []string{"/a"}},
		{"an object file", "arm64", [][]member{{file("a.o", program{kind: elf.ET_REL}.bytes(t))}}, nil},
		{"text", "arm64", [][]member{{file("a", []byte("\x7fELF"))}}, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.want, paths(report(t, test.platform, nil, test.layers...))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFinding(t *testing.T) {
	r := report(t, "arm64", nil, []member{{name: "etc/a", content: []byte("a")}}, []member{{name: "opt/tool", content: program{}.bytes(t)}})
	want := []contents.Finding{{Path: "/opt/tool", Found: "linux/amd64", Expected: "linux/arm64", Layer: 2, CreatedBy: "COPY layer2 /"}}
	want[0].Blob = r.Findings[0].Blob
	if diff := cmp.Diff(want, r.Findings); diff != "" || want[0].Blob == "" {
		t.Error(diff)
	}
	if r.Files != 2 || r.Programs != 1 || r.Layers != 2 || r.Bytes == 0 {
		t.Errorf("got %+v", r)
	}
}

func TestOthersAreTold(t *testing.T) {
	r := report(t, "amd64", nil, []member{{name: "a", content: program{platform: "386"}.bytes(t)}, {name: "b", content: program{platform: "386"}.bytes(t)}})
	want := []contents.Other{{Platform: platforms.MustParse("386"), Files: 2, First: "/a"}}
	if diff := cmp.Diff(want, r.Others); diff != "" {
		t.Error(diff)
	}
}

func TestWarnings(t *testing.T) {
	dynamic := program{interp: "/lib64/ld.so"}.bytes(t)
	loader := []member{{name: "lib64", link: "usr/lib64", typeflag: tar.TypeSymlink}, {name: "usr/lib64/ld.so", link: "ld-2.so", typeflag: tar.TypeSymlink}, {name: "usr/lib64/ld-2.so", content: program{kind: elf.ET_DYN}.bytes(t)}}
	start := func(argv ...string) func(*ocispec.Image) {
		return func(c *ocispec.Image) {
			c.Config.Entrypoint, c.Config.Env, c.Config.WorkingDir = argv, []string{"A=b", "PATH=/opt:/usr/bin"}, "/work"
		}
	}
	for _, test := range []struct {
		rule    string
		edit    func(*ocispec.Image)
		members []member
		want    []string
	}{
		{"a loader that is there, by symlinks", nil, append(loader, member{name: "a", content: dynamic}), nil},
		{"a loader that is not", nil, []member{{name: "a", content: dynamic}, {name: "b", content: dynamic}}, []string{"/a, and 1 more: the image does not have their loader /lib64/ld.so"}},
		{"a library that names a loader", nil, []member{{name: "a", content: dynamic, mode: 0o644}}, nil},
		{"a script without interpreter", nil, []member{{name: "a", content: []byte("#!/bin/sh\n")}}, []string{"/a: the image does not have their interpreter /bin/sh"}},
		{"a script that is read only", nil, []member{{name: "a", content: []byte("#!/bin/sh\n"), mode: 0o644}}, nil},
		{"what env does not find", nil, []member{{name: "usr/bin/env", content: program{}.bytes(t)}, {name: "a", content: []byte("#!/usr/bin/env ruby\n")}}, []string{"/a: the image does not have their interpreter ruby"}},
		{"an entrypoint in PATH", start("app"), []member{{name: "usr/bin/app", content: program{}.bytes(t)}}, nil},
		{"an entrypoint in the working directory", start("./app"), []member{{name: "work/app", content: program{}.bytes(t)}}, nil},
		{"an executable before one that is not", start("app"), []member{{name: "opt/app", content: []byte("a"), mode: 0o644}, {name: "usr/bin/app", content: program{}.bytes(t)}}, nil},
		{"an entrypoint that is not there", start("app"), nil, []string{`the entrypoint "app" is not in the image`}},
		{"an entrypoint that may not be run", start("/app"), []member{{name: "app", content: program{}.bytes(t), mode: 0o644}}, []string{`the entrypoint "/app" is not executable`}},
		{"an entrypoint that is a directory", start("/app"), []member{{name: "app/", typeflag: tar.TypeDir}}, []string{`the entrypoint "/app" is a directory`}},
		{"an entrypoint that is text", start("/app"), []member{{name: "app", content: []byte("echo")}}, []string{`the entrypoint "/app" is neither an ELF file nor a script with #!`}},
		{"an entrypoint of another platform", start("/app"), []member{{name: "app", content: program{platform: "arm64"}.bytes(t)}}, []string{`the entrypoint "/app" is no program of linux/amd64`}},
		{"a command", func(c *ocispec.Image) { c.Config.Cmd = []string{"app"} }, nil, []string{`the command "app" is not in the image`}},
		{"arguments of an entrypoint", func(c *ocispec.Image) { c.Config.Entrypoint, c.Config.Cmd = []string{"/a"}, []string{"b"} }, []member{{name: "a", content: program{}.bytes(t)}}, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.want, report(t, "amd64", test.edit, test.members).Warnings); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigAndIndexAgree(t *testing.T) {
	members := []member{{name: "a", content: program{platform: "arm64"}.bytes(t)}}
	for _, test := range []struct {
		rule, platform string
		edit           func(*ocispec.Image)
		want           string
	}{
		{"the same", "arm64", nil, ""},
		{"a lower variant", "arm64/v8.2", func(c *ocispec.Image) { c.Variant = "" }, ""},
		{"another architecture", "arm64", func(c *ocispec.Image) { c.Architecture, c.Variant = "amd64", "" }, "a config for linux/amd64"},
		{"a higher variant", "arm64", func(c *ocispec.Image) { c.Variant = "v9" }, "a config for linux/arm64/v9"},
		{"no platform", "arm64", func(c *ocispec.Image) { c.Architecture = "" }, "a config that names no platform"},
		{"another layer", "arm64", func(c *ocispec.Image) { c.RootFS.DiffIDs[0] = digest.FromString("b") }, "its content is sha256:"},
		{"no digest", "arm64", func(c *ocispec.Image) { c.RootFS.DiffIDs[0] = "b" }, `its diff ID "b"`},
		{"more layers", "arm64", func(c *ocispec.Image) { c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromString("b")) }, "a config of 2 layers, and a manifest of 1"},
		{"a label that cannot be read", "arm64", func(c *ocispec.Image) { c.Config.Labels = map[string]string{contents.ExemptLabel: "["} }, "its label mab.verify.exempt"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			findings := report(t, test.platform, test.edit, members).Findings
			if test.want == "" {
				if len(findings) > 0 {
					t.Errorf("got %+v", findings)
				}
				return
			}
			if !slices.ContainsFunc(findings, func(f contents.Finding) bool { return strings.HasPrefix(f.Found, test.want) }) {
				t.Errorf("got %+v, want %q", findings, test.want)
			}
		})
	}
}

func TestIndexes(t *testing.T) {
	l := newLayout(t)
	right := l.image("arm64", nil, []member{{name: "a", content: program{platform: "arm64"}.bytes(t)}})
	wrong := l.image("arm/v7", nil, []member{{name: "a", content: program{platform: "arm64"}.bytes(t)}})
	none := right
	none.Platform = nil
	t.Run("an index in an index", func(t *testing.T) {
		r, err := l.check(l.index(l.index(right, wrong)), contents.Config{})
		must(t, err)
		if len(r.Images) != 2 || len(r.Images[0].Findings) != 0 || len(r.Images[1].Findings) != 1 {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("two platforms with the same files", func(t *testing.T) {
		r, err := l.check(l.index(right, wrong), contents.Config{})
		must(t, err)
		if diff := cmp.Diff([]string{"linux/arm64 and linux/arm/v7 have the same files"}, r.Warnings); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("an entry without platform has that of its config", func(t *testing.T) {
		r, err := l.check(l.index(none), contents.Config{})
		must(t, err)
		if r.Err(true) != nil || r.Images[0].Platform != platforms.MustParse("arm64") {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("strict refuses, warn does not", func(t *testing.T) {
		r, err := l.check(l.index(wrong), contents.Config{})
		must(t, err)
		var refused *contents.RefusedError
		if !errors.As(r.Err(true), &refused) || refused.Findings != 1 || r.Err(false) != nil {
			t.Errorf("got %v, %v", r.Err(true), r.Err(false))
		}
	})
	t.Run("a platform that is not known", func(t *testing.T) {
		r, err := l.check(l.index(l.image("linux/sparc64", nil, []member{{name: "a", content: program{}.bytes(t)}})), contents.Config{})
		must(t, err)
		if r.Err(true) != nil || r.Images[0].Unchecked != "mab does not know the programs of linux/sparc64" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("an artifact", func(t *testing.T) {
		artifact := l.putJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
			MediaType: ocispec.MediaTypeImageManifest, Config: l.put("application/vnd.oci.empty.v1+json", []byte("{}")),
			Layers: []ocispec.Descriptor{l.put("text/plain", []byte("a"))},
		})
		r, err := l.check(l.index(artifact), contents.Config{})
		must(t, err)
		if r.Err(true) != nil || !strings.HasPrefix(r.Images[0].Unchecked, "it is no image") {
			t.Errorf("got %+v", r)
		}
	})
}
