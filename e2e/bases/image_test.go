// SPDX-License-Identifier: Apache-2.0

package bases_test

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/e2e/bases"
)

// needs skips the test where a program is missing, and fails it where MAB_E2E=all says that nothing may be skipped.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("MAB_E2E") == "all" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// machines tells for each platform what runs its programs elsewhere, and what uname calls it.
var machines = []struct {
	platform string
	qemu     string
	uname    string
	elf      elf.Machine
}{
	{"linux/amd64", "qemu-x86_64-static", "x86_64", elf.EM_X86_64},
	{"linux/arm64", "qemu-aarch64-static", "aarch64", elf.EM_AARCH64},
	{"linux/arm/v7", "qemu-arm-static", "armv7l", elf.EM_ARM},
	{"linux/riscv64", "qemu-riscv64-static", "riscv64", elf.EM_RISCV},
	{"linux/s390x", "qemu-s390x-static", "s390x", elf.EM_S390},
	{"linux/ppc64le", "qemu-ppc64le-static", "ppc64le", elf.EM_PPC64},
}

func TestBusyboxRuns(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb")
	index := makeIndex(t, bases.Config{}, bases.Busybox)
	for i, machine := range machines {
		t.Run(machine.platform, func(t *testing.T) {
			root := extract(t, imageAt(t, index, i, machine.platform))
			got := run(t, machine.platform, machine.qemu, filepath.Join(root, "bin/busybox"), "sh", "-c", "uname -m")
			if want := machine.uname + "\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if target, err := os.Readlink(filepath.Join(root, "bin/sh")); err != nil || target != "busybox" {
				t.Errorf("/bin/sh is a link to %q, %v", target, err)
			}
		})
	}
}

func TestCompilerRuns(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb")
	index := makeIndex(t, bases.Config{}, bases.CC)
	for i, machine := range machines {
		t.Run(machine.platform, func(t *testing.T) {
			root := extract(t, imageAt(t, index, i, machine.platform), ".h")
			libraries := checkPrograms(t, root, machine.elf)
			gcc := filepath.Join(root, "usr/bin/gcc")
			got := run(t, machine.platform, machine.qemu, loader(t, root, gcc), "--library-path", libraries, gcc, "--version")
			if !strings.HasPrefix(got, "gcc (Debian ") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// checkPrograms fails if an ELF file below root is for another machine, or names a loader or a library that is missing.
// It returns the directory of the libraries.
func checkPrograms(t *testing.T, root string, machine elf.Machine) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "usr/lib/*/libc.so.6"))
	if err != nil || len(found) != 1 {
		t.Fatalf("libc.so.6: %q, %v", found, err)
	}
	libraries := filepath.Dir(found[0])
	checked := 0
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := elf.Open(path)
		if err != nil {
			return nil // no ELF file
		}
		defer file.Close()
		checked++
		if file.Machine != machine {
			t.Errorf("%s is for %s", path, file.Machine)
		}
		needed, err := file.ImportedLibraries()
		for _, library := range needed {
			if _, err := os.Stat(filepath.Join(libraries, library)); err != nil {
				t.Errorf("%s needs %s: %v", path, library, err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 30 {
		t.Errorf("only %d ELF files", checked)
	}
	return libraries
}

// loader returns the loader that program names, as a path below root.
func loader(t *testing.T, root, program string) string {
	t.Helper()
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, part := range file.Progs {
		if part.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(part.Open())
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(root, strings.TrimRight(string(name), "\x00"))
	}
	t.Fatalf("%s names no loader", program)
	return ""
}

func TestGoTools(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb", "go")
	index := makeIndex(t, bases.Config{}, bases.Golang)
	for i, machine := range machines[:2] {
		t.Run(machine.platform, func(t *testing.T) {
			root := extract(t, imageAt(t, index, i, machine.platform), ".go", ".s")
			got := run(t, machine.platform, machine.qemu, filepath.Join(root, "usr/local/go/bin/go"), "env", "GOVERSION", "GOTOOLDIR")
			version, toolDir, _ := strings.Cut(strings.TrimSpace(got), "\n")
			content, err := os.ReadFile(filepath.Join(root, "usr/local/go/VERSION"))
			if err != nil || !strings.HasPrefix(string(content), version+"\n") {
				t.Errorf("go says %q, VERSION %q, %v", version, content, err)
			}
			if info, err := os.Stat(filepath.Join(toolDir, "compile")); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("compile in %q: %v, %v", toolDir, info, err)
			}
			if _, err := os.Stat(filepath.Join(root, "usr/local/go/src/go.mod")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCache(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb")
	const platform = "linux/arm64"
	cfg := bases.Config{CacheDir: t.TempDir()}
	digests := make([]v1.Hash, 2)
	var group errgroup.Group
	for i := range digests {
		group.Go(func() error {
			index, err := bases.Make(t.Context(), cfg, bases.Busybox, []string{platform})
			if err != nil {
				return err
			}
			digests[i], err = index.Digest()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(digests[0], digests[1]); diff != "" {
		t.Errorf("two at once made two images (-first +second):\n%s", diff)
	}
	blobs, err := filepath.Glob(filepath.Join(cfg.CacheDir, bases.Busybox, "linux-arm64", "*", "blobs", "sha256", "*"))
	if err != nil || len(blobs) != 3 {
		t.Fatalf("blobs %q, %v", blobs, err)
	}

	t.Run("what is whole is not made again", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if got := digestOf(t, makeIndex(t, cfg, bases.Busybox, platform)); got != digests[0] {
			t.Errorf("got %s, want %s", got, digests[0])
		}
	})
	t.Run("what is cut short is made again, to the same bytes", func(t *testing.T) {
		for _, blob := range blobs {
			if err := os.Truncate(blob, 100); err != nil {
				t.Fatal(err)
			}
		}
		leftover := filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(blobs[0])))), ".making-1")
		if err := os.Mkdir(leftover, 0o755); err != nil {
			t.Fatal(err)
		}
		index := makeIndex(t, cfg, bases.Busybox, platform)
		if got := digestOf(t, index); got != digests[0] {
			t.Errorf("got %s, want %s", got, digests[0])
		}
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the leftover is still there: %v", err)
		}
	})
}

func makeIndex(t *testing.T, cfg bases.Config, name string, platforms ...string) v1.ImageIndex {
	t.Helper()
	index, err := bases.Make(t.Context(), cfg, name, platforms)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func digestOf(t *testing.T, index v1.ImageIndex) v1.Hash {
	t.Helper()
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// imageAt returns the image at place i of index, and fails if index or configuration name another platform.
func imageAt(t *testing.T, index v1.ImageIndex, i int, platform string) v1.Image {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(manifest.Manifests[i].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := manifest.Manifests[i].Platform.String(); got != platform {
		t.Errorf("index names %s, want %s", got, platform)
	}
	if got := config.Platform().String(); got != platform {
		t.Errorf("configuration names %s, want %s", got, platform)
	}
	return image
}

// extract writes the files and links of image below a temporary directory, which it returns; but no files with the
// extensions, as nobody here reads sources.
func extract(t *testing.T, image v1.Image, but ...string) string {
	t.Helper()
	root := t.TempDir()
	layers := mutate.Extract(image)
	defer layers.Close()
	for in := tar.NewReader(layers); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return root
		}
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(but, filepath.Ext(header.Name)) {
			continue
		}
		path := filepath.Join(root, header.Name)
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(header.Linkname, path)
		default:
			err = writeFile(path, in, header.FileInfo().Mode())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func writeFile(path string, content io.Reader, mode fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// run runs a program of platform, through qemu if it is not this machine's, and returns what it prints.
func run(t *testing.T, platform, qemu string, program ...string) string {
	t.Helper()
	if platform != "linux/"+runtime.GOARCH {
		needs(t, qemu)
		program = append([]string{qemu}, program...)
	}
	out, err := exec.CommandContext(t.Context(), program[0], program[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", program, err, out)
	}
	return string(out)
}
