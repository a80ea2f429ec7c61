// SPDX-License-Identifier: Apache-2.0

//go:build linux

package emulation_test

import (
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// FuzzLayer: whatever a layer holds, if it is no emulator nothing of it gets onto the disk.
func FuzzLayer(f *testing.F) {
	own, _ := emulation.Program(platforms.Host())
	plain := layer(f, file("usr/bin/qemu-"+guest, own), file("usr/.wh.bin", nil), file("../x", nil))
	f.Add(plain)
	f.Add(gzipped(f, plain))
	f.Add(zstandard(f, plain))
	f.Fuzz(func(t *testing.T, content []byte) {
		l := newLayout(t)
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(content), Size: int64(len(content))}
		l.write("blobs/sha256/"+d.Digest.Encoded(), content)
		store := emulation.Store{Dir: filepath.Join(t.TempDir(), "a", "b", "emulators")}
		if done, err := store.Install(t.Context(), emulation.InstallConfig{Image: l.end(l.manifest(d)), MaxUnpacked: 1 << 20}); err == nil {
			t.Errorf("installed %+v", done)
		}
		if files := left(t, emulation.Store{Dir: filepath.Dir(filepath.Dir(store.Dir))}); len(files) != 2 {
			t.Errorf("left behind: %q", files)
		}
	})
}
