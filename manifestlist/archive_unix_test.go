// SPDX-License-Identifier: Apache-2.0

//go:build unix

package manifestlist_test

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
)

func TestWriteArchiveToPipe(t *testing.T) {
	s := newStage(t)
	idx := s.merged(false, "linux/arm64", "linux/amd64")
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	// Opened for both ends, it neither blocks here nor there.
	f, err := os.OpenFile(pipe, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	must(t, manifestlist.WriteArchive(t.Context(), idx, s.dir, manifestlist.ArchiveConfig{File: pipe}))
	first := make([]byte, len("blobs/"))
	_, err = io.ReadFull(f, first)
	must(t, err)
	if diff := cmp.Diff("blobs/", string(first)); diff != "" {
		t.Errorf("a pipe is written into, not replaced (-want +got)\n%s", diff)
	}
}
