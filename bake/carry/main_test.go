// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	main "github.com/mab-build/mab/bake/carry"
)

func TestCarry(t *testing.T) {
	program, file := filepath.Join(t.TempDir(), "program"), filepath.Join(t.TempDir(), "carried", "x.zst")
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := main.Carry(program, file); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256([]byte("a program")); string(packed[:sha256.Size]) != string(sum[:]) {
		t.Errorf("the digest is %x", packed[:sha256.Size])
	}
	unpack, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unpack.Close()
	if text, err := unpack.DecodeAll(packed[sha256.Size:], nil); err != nil || string(text) != "a program" {
		t.Errorf("got %q, %v", text, err)
	}
}
