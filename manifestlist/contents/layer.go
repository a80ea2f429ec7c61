// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
)

type kind uint8

const (
	directory kind = iota
	regular
	symlink
	hardLink
	whiteout // of path
	opaque   // path is a directory, and what lower layers have in it is gone
	other    // devices and pipes
)

// entry is one member of a layer. Paths have no slash at the beginning; "" is the root.
type entry struct {
	path       string
	link       string // the target of a symlink, as it is; of a hard link, a path
	kind       kind
	executable bool
	program    *program
}

// layer is what a layer's tar holds, in its order.
type layer struct {
	entries []entry
	bytes   int64 // of the tar
}

// Whiteouts. Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh." // notes of aufs
)

// malformed is a layer that has the right bytes, but they are no layer.
type malformed struct{ error }

func (m malformed) Unwrap() error { return m.error }

// readLayer reads a layer, and checks that its bytes are those of desc, and its tar's those of diffID. The error is a
// *manifestlist.DigestError or a malformed if that is not so.
func readLayer(ctx context.Context, from manifestlist.Blobs, desc ocispec.Descriptor, diffID digest.Digest) (*layer, error) {
	if err := diffID.Validate(); err != nil {
		return nil, malformed{fmt.Errorf("its diff ID %q: %w", diffID, err)}
	}
	blob, err := manifestlist.OpenBlob(ctx, from, desc)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	l, got, err := readCompressed(blob, diffID)
	// What is wrong with the bytes comes before what they made of the tar. It is known only when all are read.
	if _, rest := io.Copy(io.Discard, blob); rest != nil {
		return nil, rest
	}
	if err != nil {
		return nil, malformed{err}
	}
	if got != diffID {
		return nil, malformed{fmt.Errorf("its content is %s, the config says %s", got, diffID)}
	}
	return l, nil
}

func readCompressed(blob io.Reader, diffID digest.Digest) (*layer, digest.Digest, error) {
	content, err := newStream(blob, diffID.Algorithm().Hash())
	if err != nil {
		return nil, "", err
	}
	defer content.done()
	l, err := readTar(content)
	if err != nil {
		return nil, "", err
	}
	// Behind the two blocks that end a tar there may be more.
	if _, err := content.Seek(math.MaxInt64, io.SeekCurrent); err != nil {
		return nil, "", err
	}
	l.bytes = content.n
	return l, digest.NewDigest(diffID.Algorithm(), content.sum), nil
}

// readTar reads the members of a layer. An empty stream is an empty layer.
func readTar(in io.Reader) (*layer, error) {
	l := &layer{}
	programs := newProgramReader()
	for archive := tar.NewReader(in); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading its tar: %w", err)
		}
		e, ok := newEntry(header)
		if !ok {
			continue
		}
		if e.kind == regular && header.Size > 0 {
			if e.program, err = programs.read(archive); err != nil {
				return nil, fmt.Errorf("reading %q in its tar: %w", header.Name, err)
			}
		}
		l.entries = append(l.entries, e)
	}
}

// newEntry returns false for what leaves nothing in the file system.
func newEntry(header *tar.Header) (entry, bool) {
	e := entry{path: clean(header.Name), executable: header.Mode&0o111 != 0}
	dir, base := path.Split(e.path)
	switch {
	case base == whiteoutOpaque:
		e.path, e.kind = strings.TrimSuffix(dir, "/"), opaque
		return e, true
	case strings.HasPrefix(base, whiteoutMeta):
		return e, false
	case strings.HasPrefix(base, whiteoutPrefix):
		e.path, e.kind = dir+strings.TrimPrefix(base, whiteoutPrefix), whiteout
		return e, base != whiteoutPrefix
	}
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		e.kind = regular
	case tar.TypeDir:
		e.kind = directory
	case tar.TypeSymlink:
		e.kind, e.link = symlink, header.Linkname
	case tar.TypeLink:
		e.kind, e.link = hardLink, clean(header.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		e.kind = other
	default:
		return e, false
	}
	return e, e.path != "" || e.kind == directory
}

// clean returns a path of the image's root without a slash at its beginning; none leads out of the root.
func clean(name string) string { return path.Clean("/" + name)[1:] }
