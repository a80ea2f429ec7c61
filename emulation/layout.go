// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutSource is an OCI image layout: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
type layoutSource struct {
	// open opens a file of the layout by its slash-separated path.
	open func(name string) (io.ReadCloser, error)
	// tag or id choose an entry of index.json; with neither, index.json is the index.
	tag string
	id  digest.Digest
}

// splitName cuts off what a name chooses in a layout, as in DIR:TAG and DIR@DIGEST. A colon that is followed by a slash is the path's.
func splitName(name string) (where, tag string, id digest.Digest) {
	if where, after, ok := strings.Cut(name, "@"); ok && digest.Digest(after).Validate() == nil {
		return where, "", digest.Digest(after)
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:], ""
	}
	return name, "", ""
}

func openLayout(name string) (*layoutSource, func() error, error) {
	dir, tag, id := splitName(name)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the layout: %w", err)
	}
	open := func(name string) (io.ReadCloser, error) { return root.Open(filepath.FromSlash(name)) }
	return &layoutSource{open, tag, id}, root.Close, nil
}

// openArchive reads through a tar once, to know where its files are.
func openArchive(name string) (*layoutSource, func() error, error) {
	where, tag, id := splitName(name)
	file, err := os.Open(where)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the archive: %w", err)
	}
	files, err := contents(file)
	if err != nil {
		if program := packer(file); program != "" {
			err = &packedError{where, program}
		}
		return nil, nil, errors.Join(fmt.Errorf("reading archive %q: %w", where, err), file.Close())
	}
	open := func(name string) (io.ReadCloser, error) {
		section, ok := files[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return io.NopCloser(io.NewSectionReader(file, section.at, section.size)), nil
	}
	return &layoutSource{open, tag, id}, file.Close, nil
}

// packers are programs that compress, by what their files begin with. Sources: RFC 1952, RFC 8878, the .xz file format, bzip2(1).
var packers = []struct{ magic, program string }{
	{"\x1f\x8b", "gzip"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"\xfd7zXZ\x00", "xz"}, {"BZh", "bzip2"},
}

// packer is the program that compressed a file; "" if none is known to have.
func packer(file io.ReaderAt) string {
	for _, p := range packers {
		begin := make([]byte, len(p.magic))
		if _, err := file.ReadAt(begin, 0); err == nil && string(begin) == p.magic {
			return p.program
		}
	}
	return ""
}

// packedError is an archive that cannot be read in any order.
type packedError struct{ path, program string }

func (e *packedError) Error() string { return "it is compressed by " + e.program }

// Hint says how to go on.
func (e *packedError) Hint() string {
	return fmt.Sprintf("unpack it first: %s -d %s", e.program, e.path)
}

type section struct{ at, size int64 }

// contents lists the regular files of a tar that is not compressed. Offsets are where the reader stands after each header: tar.Reader
// reads a file by blocks and no further.
func contents(file *os.File) (map[string]section, error) {
	out := map[string]section{}
	in := tar.NewReader(file)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		at, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		out[path.Clean(header.Name)] = section{at, header.Size}
	}
}

func (s *layoutSource) read(name string) ([]byte, error) {
	file, err := s.open(name)
	if err != nil {
		return nil, err
	}
	raw, err := readDocument(file)
	return raw, errors.Join(err, file.Close())
}

// root returns index.json as a document, or the entry that was chosen.
func (s *layoutSource) root(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	raw, err := s.read("index.json")
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("reading an OCI image layout: %w", err)
	}
	if s.tag == "" && s.id == "" {
		return ocispec.Descriptor{Digest: digest.FromBytes(raw)}, raw, nil
	}
	var index ocispec.Index
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&index); err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("reading index.json: %w", err)
	}
	for _, d := range index.Manifests {
		ref := d.Annotations[ocispec.AnnotationRefName]
		if s.id != "" && d.Digest == s.id || s.tag != "" && (ref == s.tag || strings.HasSuffix(ref, ":"+s.tag)) {
			raw, err := s.document(ctx, d)
			return d, raw, err
		}
	}
	return ocispec.Descriptor{}, nil, fmt.Errorf("the layout has no image %q", s.tag+s.id.String())
}

func (s *layoutSource) document(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, err
	}
	return s.read(blobPath(desc.Digest))
}

func (s *layoutSource) blob(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return s.open(blobPath(desc.Digest))
}

func blobPath(d digest.Digest) string { return path.Join("blobs", d.Algorithm().String(), d.Encoded()) }
