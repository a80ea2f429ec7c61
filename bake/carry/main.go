// SPDX-License-Identifier: Apache-2.0

// Carry packs a program that reads bake files for a release of mab: its SHA-256 digest, then the program compressed by zstd, as package bake
// embeds it.
package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: carry PROGRAM FILE")
		os.Exit(2)
	}
	if err := carry(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "carry:", err)
		os.Exit(1)
	}
}

func carry(program, file string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	// One goroutine: the bytes must not depend on how many cores there are.
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	digest := sha256.Sum256(content)
	packed := w.EncodeAll(content, digest[:])
	return errors.Join(w.Close(), os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file+".new", packed, 0o644), os.Rename(file+".new", file))
}
