// SPDX-License-Identifier: Apache-2.0

// Carry packs a runc for a release of mab: it writes ARCH.zst and ARCH.json, which package runc embeds. It refuses a program that
// would need anything of the machine it runs on.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// machines are the architectures of releases, by the name that Go has for them.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV}

// label is what package runc reads, and, but for Libc, uses.
type label struct {
	Version string `json:"version"`
	Seccomp string `json:"seccomp"`
	Libc    string `json:"libc"`
	SHA256  string `json:"sha256"`
}

func main() {
	var about label
	arch := flag.String("arch", "", "the architecture that the program is for")
	flag.StringVar(&about.Version, "version", "", "the version of runc")
	flag.StringVar(&about.Seccomp, "seccomp", "", "the version of libseccomp in it")
	flag.StringVar(&about.Libc, "libc", "", "the version of the GNU C Library in it")
	flag.Parse()
	if flag.NArg() != 2 || about.Version == "" || about.Seccomp == "" || about.Libc == "" {
		fmt.Fprintln(os.Stderr, "usage: carry -arch ARCH -version VERSION -seccomp VERSION -libc VERSION PROGRAM DIRECTORY")
		os.Exit(2)
	}
	if err := carry(*arch, about, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "carry:", err)
		os.Exit(1)
	}
}

func carry(arch string, about label, program, dir string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := static(content, arch); err != nil {
		return fmt.Errorf("checking %q: %w", program, err)
	}
	sum := sha256.Sum256(content)
	about.SHA256 = hex.EncodeToString(sum[:])
	text, err := json.Marshal(about)
	if err != nil {
		return err
	}
	// One goroutine: the bytes must not depend on how many cores there are.
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	packed := w.EncodeAll(content, nil)
	if err := w.Close(); err != nil {
		return err
	}
	// The archive comes last and at once: make takes it for the sign that all is there.
	archive := filepath.Join(dir, arch+".zst")
	return errors.Join(
		os.WriteFile(filepath.Join(dir, arch+".json"), append(text, '\n'), 0o644),
		os.WriteFile(archive+".new", packed, 0o644),
		os.Rename(archive+".new", archive),
	)
}

// static tells why a program is not for an architecture, or needs a dynamic linker.
func static(content []byte, arch string) error {
	want, ok := machines[arch]
	if !ok {
		return fmt.Errorf("no release is for architecture %q", arch)
	}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return err
	}
	if f.Machine != want {
		return fmt.Errorf("it is for %s", f.Machine)
	}
	for _, segment := range f.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			return errors.New("it is linked dynamically")
		}
	}
	return nil
}
