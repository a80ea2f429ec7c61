// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// machine is what the tests know of a platform by themselves: nothing of this is taken from mab's tables.
type machine struct {
	platform string
	elf      elf.Machine
	class    elf.Class
	order    elf.Data
	uname    string
	// qemu is the part of the emulator's name that stands for the architecture.
	qemu string
	// goarch is that of a machine that runs the platform's programs by itself.
	goarch string
}

// machines are those of six, in its order. The ELF numbers are those of https://www.sco.com/developers/gabi/latest/ch4.eheader.html.
var machines = []machine{
	{"linux/amd64", elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, "x86_64", "x86_64", "amd64"},
	{"linux/arm64", elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB, "aarch64", "aarch64", "arm64"},
	{"linux/arm/v7", elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, "armv7l", "arm", ""},
	{"linux/riscv64", elf.EM_RISCV, elf.ELFCLASS64, elf.ELFDATA2LSB, "riscv64", "riscv64", "riscv64"},
	{"linux/s390x", elf.EM_S390, elf.ELFCLASS64, elf.ELFDATA2MSB, "s390x", "s390x", "s390x"},
	{"linux/ppc64le", elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2LSB, "ppc64le", "ppc64le", "ppc64le"},
}

// machineOf returns the row of a platform.
func machineOf(t testing.TB, platform string) machine {
	t.Helper()
	for _, m := range machines {
		if m.platform == platform {
			return m
		}
	}
	t.Fatalf("no machine for %s", platform)
	return machine{}
}

// native reports whether this machine runs the platform's programs without an emulator.
func (m machine) native() bool { return m.goarch == runtime.GOARCH }

// hostPlatform is this machine's own, as the base images have it, and foreign one that it emulates.
func hostPlatform() string { return "linux/" + runtime.GOARCH }

func foreignPlatform() string {
	if runtime.GOARCH == "arm64" {
		return "linux/amd64"
	}
	return "linux/arm64"
}

// command starts a program of the platform: as it is, or by QEMU.
func (m machine) command(t testing.TB, program string, args ...string) *exec.Cmd {
	t.Helper()
	if m.native() {
		return exec.CommandContext(t.Context(), program, args...)
	}
	for _, emulator := range []string{"qemu-" + m.qemu + "-static", "qemu-" + m.qemu} {
		if found, err := exec.LookPath(emulator); err == nil {
			return exec.CommandContext(t.Context(), found, append([]string{program}, args...)...)
		}
	}
	need(t, "qemu-"+m.qemu+"-static")
	return nil
}

// check fails the test unless the program is one of the platform.
func (m machine) check(t testing.TB, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := []any{m.elf.String(), m.class.String(), m.order.String()}
	if diff := cmp.Diff(want, []any{f.Machine.String(), f.Class.String(), f.Data.String()}); diff != "" {
		t.Errorf("ELF header of %s's program (-want +got):\n%s", m.platform, diff)
	}
}

// pull reads an index from a registry, every blob of it, and checks digests, sizes and media types.
func pull(t testing.TB, ref string) v1.ImageIndex {
	t.Helper()
	index, err := remote.Index(reference(t, ref))
	if err != nil {
		t.Fatalf("pulling %s: %v", ref, err)
	}
	if err := validate.Index(index); err != nil {
		t.Fatalf("checking %s: %v", ref, err)
	}
	return index
}

// pullImage is pull for a reference that is a manifest and no index.
func pullImage(t testing.TB, ref string) v1.Image {
	t.Helper()
	got, err := remote.Get(reference(t, ref))
	if err != nil {
		t.Fatalf("pulling %s: %v", ref, err)
	}
	if !got.MediaType.IsImage() {
		t.Fatalf("%s is a %s, want an image's manifest", ref, got.MediaType)
	}
	image, err := got.Image()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Fatalf("checking %s: %v", ref, err)
	}
	return image
}

func reference(t testing.TB, ref string) name.Reference {
	t.Helper()
	parsed, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// exists reports whether a registry has the reference.
func exists(t testing.TB, ref string) bool {
	t.Helper()
	_, err := remote.Head(reference(t, ref))
	return err == nil
}

func indexManifest(t testing.TB, index v1.ImageIndex) *v1.IndexManifest {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return manifest
}

// attestation reports whether an entry of an index is BuildKit's attestation of another entry.
func attestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}

// platformsOf lists the platforms of an index in its order, without attestations.
func platformsOf(t testing.TB, index v1.ImageIndex) string {
	t.Helper()
	var list []string
	for _, d := range indexManifest(t, index).Manifests {
		if !attestation(d) {
			list = append(list, d.Platform.String())
		}
	}
	return strings.Join(list, ",")
}

// imageOf returns the only image of the index for a platform.
func imageOf(t testing.TB, index v1.ImageIndex, platform string) v1.Image {
	t.Helper()
	var found []v1.Image
	for _, d := range indexManifest(t, index).Manifests {
		if attestation(d) || d.Platform.String() != platform {
			continue
		}
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, image)
	}
	if len(found) != 1 {
		t.Fatalf("%d images for %s", len(found), platform)
	}
	return found[0]
}

func configOf(t testing.TB, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// rootfs is the content of an image: a header and the bytes for each name, without a leading slash.
type rootfs map[string]entry

type entry struct {
	*tar.Header
	content []byte
}

func rootfsOf(t testing.TB, image v1.Image) rootfs {
	t.Helper()
	layers := mutate.Extract(image)
	defer layers.Close()
	return readTar(t, layers)
}

func readTar(t testing.TB, r io.Reader) rootfs {
	t.Helper()
	out := rootfs{}
	for in := tar.NewReader(r); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		out[path.Clean(strings.TrimPrefix(header.Name, "./"))] = entry{header, content}
	}
}

// readTarFile reads a tar from the disk.
func readTarFile(t testing.TB, file string) rootfs {
	t.Helper()
	return readTar(t, bytes.NewReader(readFile(t, file)))
}

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// text returns a file as its only or its lines without the last newline, and fails the test if there is none.
func (r rootfs) text(t testing.TB, name string) string {
	t.Helper()
	e, ok := r[name]
	if !ok {
		t.Fatalf("the image has no %s", name)
	}
	return strings.TrimSuffix(string(e.content), "\n")
}

// program writes a file of the image to the disk, so that it can be run.
func (r rootfs) program(t testing.TB, name string) string {
	t.Helper()
	e, ok := r[name]
	if !ok {
		t.Fatalf("the image has no %s", name)
	}
	file := filepath.Join(t.TempDir(), path.Base(name))
	if err := os.WriteFile(file, e.content, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// outputOf runs a command and returns standard output without the last newline.
func outputOf(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, stderr.Bytes())
	}
	return strings.TrimSuffix(string(out), "\n")
}

// decode reads JSON.
func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var out T
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return out
}

// on is the lab of a subtest: it fails that one, and has a working directory of its own.
func (l *lab) on(t testing.TB) *lab {
	t.Helper()
	sub := *l
	sub.t, sub.dir = t, t.TempDir()
	return &sub
}

// setting is the lab with variables added to its environment, as NAME=VALUE.
func (l *lab) setting(variables ...string) *lab {
	sub := *l
	sub.env = append(append([]string(nil), l.env...), variables...)
	return &sub
}

// refused is mab for a command that must fail: with this exit code, an empty standard output, and all of the words on standard error.
func (l *lab) refused(code int, words []string, args ...string) output {
	l.t.Helper()
	out := l.mab(args...)
	if out.code != code || out.stdout != "" {
		l.t.Errorf("mab %s: exit code %d, want %d; stdout %q\n%s", strings.Join(args, " "), out.code, code, out.stdout, out.stderr)
	}
	for _, word := range words {
		if !strings.Contains(out.stderr, word) {
			l.t.Errorf("mab %s: no %q in:\n%s", strings.Join(args, " "), word, out.stderr)
		}
	}
	return out
}

// empty fails the test if a directory has anything but the named files, hidden files included.
func empty(t testing.TB, dir string, but ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(but, got); diff != "" {
		t.Errorf("files in %s (-want +got):\n%s", dir, diff)
	}
}

func digestOf(t testing.TB, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// uncompressed reads the tar of a layer, or what else a layer of an attestation is.
func uncompressed(t testing.TB, layer v1.Layer) []byte {
	t.Helper()
	r, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
