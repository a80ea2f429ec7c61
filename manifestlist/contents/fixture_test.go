// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// program is an ELF file to be made. The zero value is an executable of amd64.
type program struct {
	platform string // of the table in platforms
	row      platforms.ELF
	kind     elf.Type
	osabi    elf.OSABI
	interp   string
	cpu      int  // Tag_CPU_arch, if not 0
	padding  int  // bytes before what comes after the headers
	noCode   bool // as objcopy --only-keep-debug leaves it
}

// bytes makes a file of a program header for the interpreter, code, attributes and a section table, as far as they are wanted.
func (p program) bytes(t testing.TB) []byte {
	t.Helper()
	row := p.row
	if row.Machine == 0 {
		name := p.platform
		if name == "" {
			name = "amd64"
		}
		row, _ = platforms.MustParse(name).ELF()
	}
	if p.kind == 0 {
		p.kind = elf.ET_EXEC
	}
	ident := [16]byte{0x7f, 'E', 'L', 'F', byte(row.Class), byte(row.Data), 1, byte(p.osabi)}
	order := endian(binary.LittleEndian)
	if row.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	wide := row.Class == elf.ELFCLASS64
	headers, programSize, sectionSize := 52, 32, 40
	if wide {
		headers, programSize, sectionSize = 64, 56, 64
	}
	interp := append([]byte(p.interp), 0)
	interpAt := headers + programSize + p.padding
	attributes := armAttributes(order, p.cpu)
	attributesAt := interpAt + len(interp)
	sectionsAt := attributesAt + len(attributes)
	codeKind := elf.SHT_PROGBITS
	if p.noCode {
		codeKind = elf.SHT_NOBITS
	}
	var out bytes.Buffer
	write := func(v any) { must(t, binary.Write(&out, order, v)) }
	if wide {
		write(elf.Header64{Ident: ident, Type: uint16(p.kind), Machine: uint16(row.Machine), Version: 1, Flags: row.Flags, Ehsize: 64,
			Phoff: 64, Phentsize: 56, Phnum: 1, Shoff: uint64(sectionsAt), Shentsize: 64, Shnum: 3})
		write(elf.Prog64{Type: uint32(elf.PT_INTERP), Off: uint64(interpAt), Filesz: uint64(len(interp))})
	} else {
		write(elf.Header32{Ident: ident, Type: uint16(p.kind), Machine: uint16(row.Machine), Version: 1, Flags: row.Flags, Ehsize: 52,
			Phoff: 52, Phentsize: 32, Phnum: 1, Shoff: uint32(sectionsAt), Shentsize: 40, Shnum: 3})
		write(elf.Prog32{Type: uint32(elf.PT_INTERP), Off: uint32(interpAt), Filesz: uint32(len(interp))})
	}
	out.Write(make([]byte, p.padding))
	out.Write(interp)
	out.Write(attributes)
	out.Write(make([]byte, sectionSize)) // the first section is none
	if wide {
		write(elf.Section64{Type: uint32(codeKind), Flags: uint64(elf.SHF_EXECINSTR)})
		write(elf.Section64{Type: 0x70000003, Off: uint64(attributesAt)})
	} else {
		write(elf.Section32{Type: uint32(codeKind), Flags: uint32(elf.SHF_EXECINSTR)})
		write(elf.Section32{Type: 0x70000003, Off: uint32(attributesAt)})
	}
	return out.Bytes()
}

type endian interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func armAttributes(order endian, cpu int) []byte {
	tags := append([]byte{5}, "name\x00"...) // Tag_CPU_name
	tags = append(tags, 6, byte(cpu), 32, 1)
	tags = append(tags, "gnu\x00"...) // Tag_compatibility
	file := order.AppendUint32([]byte{1}, uint32(5+len(tags)))
	file = append(file, tags...)
	vendor := order.AppendUint32([]byte{'A'}, uint32(4+6+len(file)))
	return append(append(vendor, "aeabi\x00"...), file...)
}

// member is a file, directory or link of a layer; the zero Typeflag is a regular file that may be run.
type member struct {
	name, link string
	typeflag   byte
	mode       int64
	content    []byte
}

func tarOf(t testing.TB, members []member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Linkname: m.link, Typeflag: m.typeflag, Mode: m.mode, Size: int64(len(m.content))}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		must(t, w.WriteHeader(h))
		_, err := w.Write(m.content)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

// layout is a directory of blobs.
type layout struct {
	t   testing.TB
	dir manifestlist.BlobDir
}

func newLayout(t testing.TB) layout {
	t.Helper()
	return layout{t, manifestlist.BlobDir(t.TempDir())}
}

func (l layout) put(mediaType string, raw []byte) ocispec.Descriptor {
	l.t.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	path, err := l.dir.Path(desc.Digest)
	must(l.t, err)
	must(l.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(l.t, os.WriteFile(path, raw, 0o644))
	return desc
}

func (l layout) putJSON(mediaType string, v any) ocispec.Descriptor {
	l.t.Helper()
	raw, err := json.Marshal(v)
	must(l.t, err)
	return l.put(mediaType, raw)
}

func compress(t testing.TB, raw []byte, how string) []byte {
	t.Helper()
	var out bytes.Buffer
	switch how {
	case "gzip":
		w := gzip.NewWriter(&out)
		_, err := w.Write(raw)
		must(t, err)
		must(t, w.Close())
	case "zstd":
		w, err := zstd.NewWriter(&out)
		must(t, err)
		_, err = w.Write(raw)
		must(t, err)
		must(t, w.Close())
	default:
		return raw
	}
	return out.Bytes()
}

// compressions are taken by turns, by the number of the layer.
var compressions = []string{"gzip", "zstd", ""}

// image puts an image; edit may change its config before.
func (l layout) image(platform string, edit func(*ocispec.Image), layers ...[]member) ocispec.Descriptor {
	l.t.Helper()
	p := platforms.MustParse(platform).OCI()
	config := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	for i, members := range layers {
		raw := tarOf(l.t, members)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(raw))
		config.History = append(config.History,
			ocispec.History{CreatedBy: "ENV a=b", EmptyLayer: true}, ocispec.History{CreatedBy: "COPY layer" + string(rune('1'+i)) + " /"})
		manifest.Layers = append(manifest.Layers, l.put(ocispec.MediaTypeImageLayer, compress(l.t, raw, compressions[i%len(compressions)])))
	}
	if edit != nil {
		edit(&config)
	}
	manifest.Config = l.putJSON(ocispec.MediaTypeImageConfig, config)
	desc := l.putJSON(ocispec.MediaTypeImageManifest, manifest)
	desc.Platform = &p
	return desc
}

func (l layout) index(images ...ocispec.Descriptor) ocispec.Descriptor {
	l.t.Helper()
	return l.putJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: images,
	})
}

// check checks what root reaches.
func (l layout) check(root ocispec.Descriptor, cfg contents.Config) (*contents.Report, error) {
	l.t.Helper()
	checker, err := contents.New(cfg)
	must(l.t, err)
	raw, err := manifestlist.ReadBlob(l.t.Context(), l.dir, root)
	if err != nil {
		return nil, err
	}
	return checker.Check(l.t.Context(), l.dir, root, raw)
}

// report checks one image.
func report(t testing.TB, platform string, edit func(*ocispec.Image), layers ...[]member) contents.ImageReport {
	t.Helper()
	l := newLayout(t)
	r, err := l.check(l.image(platform, edit, layers...), contents.Config{})
	must(t, err)
	return r.Images[0]
}

// paths are those of the findings, in their order.
func paths(r contents.ImageReport) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Path)
	}
	return out
}
