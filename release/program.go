// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// module is a Go module that is in a program.
type module struct {
	path, version string
	licences      []licence
}

// licence is a file that a module comes with, and the SPDX identifiers of the licences in it.
type licence struct {
	file string
	text []byte
	ids  []string
}

// mabPath is mab's own module.
const mabPath = "github.com/mab-build/mab"

// program is one program, in its builds for all systems.
type program struct {
	goVersion string
	// modules are in the order of their paths.
	modules []*module
}

// add takes in what one build says of itself.
func (p *program) add(r io.ReaderAt) error {
	info, err := buildinfo.Read(r)
	if err != nil {
		return err
	}
	if p.goVersion != "" && p.goVersion != info.GoVersion {
		return fmt.Errorf("made by %s, and another by %s", info.GoVersion, p.goVersion)
	}
	p.goVersion = info.GoVersion
	for _, dep := range info.Deps {
		// A module beside mab's takes mab itself from where it is.
		if dep.Path == mabPath {
			continue
		}
		if dep.Replace != nil {
			return fmt.Errorf("%s is replaced by %s", dep.Path, dep.Replace.Path)
		}
		at, found := slices.BinarySearchFunc(p.modules, dep.Path, func(m *module, path string) int { return strings.Compare(m.path, path) })
		switch {
		case !found:
			p.modules = slices.Insert(p.modules, at, &module{path: dep.Path, version: dep.Version})
		case p.modules[at].version != dep.Version:
			return fmt.Errorf("%s is %s, and %s in another build", dep.Path, dep.Version, p.modules[at].version)
		}
	}
	return nil
}

// readPrograms reads the builds of mab in a directory.
func readPrograms(dir string) (program, error) {
	var all program
	files, err := filepath.Glob(filepath.Join(dir, "mab-*"))
	if err != nil || len(files) == 0 {
		return all, errors.Join(err, fmt.Errorf("no mab-* in %q", dir))
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil {
			err = all.add(bytes.NewReader(content))
		}
		if err != nil {
			return all, fmt.Errorf("reading %q: %w", file, err)
		}
	}
	return all, nil
}

// readReaders reads the builds of the program that reads bake files in a directory: each is a digest, and then the program, compressed.
func readReaders(dir string) (program, error) {
	var all program
	files, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil || len(files) == 0 {
		return all, errors.Join(err, fmt.Errorf("no readers in %q", dir))
	}
	for _, file := range files {
		packed, err := os.ReadFile(file)
		if err == nil && len(packed) < sha256.Size {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = all.addPacked(packed[sha256.Size:])
		}
		if err != nil {
			return all, fmt.Errorf("reading %q: %w", file, err)
		}
	}
	return all, nil
}

// addPacked is add of a build that is compressed by zstd.
func (p *program) addPacked(packed []byte) error {
	unpack, err := zstd.NewReader(nil)
	if err != nil {
		return err
	}
	defer unpack.Close()
	content, err := unpack.DecodeAll(packed, nil)
	if err != nil {
		return err
	}
	return p.add(bytes.NewReader(content))
}

// label is what command carry writes.
type label struct {
	Version string `json:"version"`
	Seccomp string `json:"seccomp"`
	Libc    string `json:"libc"`
}

// carried is the runc that is in mab's builds for Linux.
type carried struct {
	program
	label label
}

// readCarried reads the builds of runc in a directory.
func readCarried(dir string) (carried, error) {
	var all carried
	files, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil || len(files) == 0 {
		return all, errors.Join(err, fmt.Errorf("no runc in %q", dir))
	}
	for _, file := range files {
		packed, err := os.ReadFile(file)
		if err != nil {
			return all, err
		}
		err = all.addPacked(packed)
		if err != nil {
			return all, fmt.Errorf("reading %q: %w", file, err)
		}
		text, err := os.ReadFile(strings.TrimSuffix(file, ".zst") + ".json")
		if err != nil {
			return all, err
		}
		var about label
		if err := json.Unmarshal(text, &about); err != nil {
			return all, fmt.Errorf("reading the label of %q: %w", file, err)
		}
		if all.label != (label{}) && all.label != about {
			return all, fmt.Errorf("%q is of %+v, and another of %+v", file, about, all.label)
		}
		all.label = about
	}
	return all, nil
}

// source is the source of libseccomp: its licence asks that it comes along.
type source struct {
	file, sha256 string
	content      []byte
	licence      []byte
}

// readSource reads the archive that the library was made of.
func readSource(dir string, about label) (source, error) {
	out := source{file: "libseccomp-" + about.Seccomp + ".tar.gz"}
	content, err := os.ReadFile(filepath.Join(dir, out.file))
	if err != nil {
		return out, err
	}
	sum := sha256.Sum256(content)
	out.content, out.sha256 = content, hex.EncodeToString(sum[:])
	unzip, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return out, fmt.Errorf("reading %q: %w", out.file, err)
	}
	for archive := tar.NewReader(unzip); ; {
		header, err := archive.Next()
		if err != nil {
			return out, fmt.Errorf("finding the licence in %q: %w", out.file, err)
		}
		if path.Base(header.Name) != "LICENSE" {
			continue
		}
		out.licence, err = io.ReadAll(archive)
		return out, err
	}
}
