// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

func FuzzProgram(f *testing.F) {
	arm, _ := platforms.MustParse("arm").ELF()
	for _, file := range [][]byte{
		program{interp: "/lib/ld.so"}.bytes(f), program{platform: "s390x", padding: 5000}.bytes(f), program{row: arm, cpu: 10, padding: 5000}.bytes(f), []byte("#!/bin/sh"),
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, ok, err := contents.ReadProgram(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		again, okAgain, _ := contents.ReadProgram(bytes.NewReader(slices.Clone(file)))
		if ok != okAgain || got != again {
			t.Errorf("first %+v, then %+v", got, again)
		}
		if ok && !got.Script && !bytes.HasPrefix(file, []byte("\x7fELF")) {
			t.Errorf("got %+v", got)
		}
	})
}

func FuzzLayers(f *testing.F) {
	f.Add(tarOf(f, []member{{name: "a/b", content: []byte("#!/bin/sh")}}), tarOf(f, []member{{name: "a/.wh.b"}, {name: "c", link: "a", typeflag: '2'}}))
	f.Add(tarOf(f, []member{{name: "a", link: "a", typeflag: '2'}}), tarOf(f, []member{{name: "a/b", content: program{}.bytes(f)}, {name: "d", link: "a/b", typeflag: '1'}}))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		paths, err := contents.ApplyTars(bytes.NewReader(lower), bytes.NewReader(upper))
		if err != nil {
			return
		}
		for i, path := range paths {
			if !strings.HasPrefix(path, "/") || strings.Contains(path+"/", "/../") || slices.Contains(paths[:i], path) {
				t.Errorf("got %q in %q", path, paths)
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	l := newLayout(f)
	root := l.index(l.image("arm64", nil, []member{{name: "a", content: program{}.bytes(f)}}))
	raw, err := manifestlist.ReadBlob(f.Context(), l.dir, root)
	must(f, err)
	f.Add(raw)
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","data":"e30=","size":2}]}`))
	checker, err := contents.New(contents.Config{})
	must(f, err)
	f.Fuzz(func(t *testing.T, raw []byte) {
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		report, err := checker.Check(t.Context(), l.dir, desc, raw)
		if err == nil && report == nil {
			t.Error("neither a report nor an error")
		}
	})
}
