// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageDir is where images keep their emulators: tonistiigi/binfmt, multiarch/qemu-user-static, distributions with the package.
const imageDir = "usr/bin"

const (
	// maxEmulator is several times the largest emulator known, of 14 MB (qemu-xtensaeb of Debian 12).
	maxEmulator = 80 << 20
	maxUnpacked = 2 << 30
	// maxWindow is what zstd may ask for. Source: RFC 8878 section 3.1.1.1.2 recommends 8 MB, zstd --long uses 128 MB.
	maxWindow = 128 << 20
)

// Whiteouts as https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md has them.
const (
	whiteout       = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
)

// extraction unpacks emulators out of layers, lowest first, into dir: regular files with the names that emulators have, and nothing
// else. It trusts nothing of the image.
type extraction struct {
	dir string
	// wanted reports whether an emulator is to be unpacked.
	wanted func(Handler) bool
	// files are what the image has so far, by name in imageDir; the value is the unpacked file, "" if it is not wanted.
	files map[string]string
	// unpacked and packed count bytes; of the former there may be most.
	unpacked, packed, most int64
	// serial makes names of files.
	serial int
}

func (x *extraction) layer(ctx context.Context, source imageSource, desc ocispec.Descriptor) error {
	blob, err := source.blob(ctx, desc)
	if err != nil {
		return fmt.Errorf("reading layer %s: %w", desc.Digest, err)
	}
	err = x.read(&verifier{in: blob, ctx: ctx, digester: desc.Digest.Algorithm().Digester()}, desc)
	if err := errors.Join(err, blob.Close()); err != nil {
		return fmt.Errorf("reading layer %s: %w", desc.Digest, err)
	}
	return nil
}

// verifier counts and digests what is read through it, and stops when its context ends.
type verifier struct {
	in       io.Reader
	ctx      context.Context //nolint:containedctx // a reader has no other way to be told
	digester digest.Digester
	n        int64
}

// Read reads from the layer.
func (v *verifier) Read(p []byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := v.in.Read(p)
	_, _ = v.digester.Hash().Write(p[:n])
	v.n += int64(n)
	return n, err
}

// read unpacks a layer and then makes sure that it was the one that was meant. What it unpacked is worth nothing if it fails. A wrong
// digest is the better explanation of what went wrong in the tar.
func (x *extraction) read(v *verifier, desc ocispec.Descriptor) error {
	in := bufio.NewReader(io.LimitReader(v, desc.Size+1))
	plain, err := decompress(in)
	if err == nil {
		metered := &meter{plain, x}
		if err = x.entries(tar.NewReader(metered)); err == nil {
			// What follows the tar's end holds the checksum.
			_, err = io.Copy(io.Discard, metered)
		}
		_ = plain.Close() // Its memory is given back; what was wrong with it, reading told.
	}
	x.packed += v.n
	if errors.Is(err, errHostile) || v.ctx.Err() != nil {
		return err
	}
	if _, drained := io.Copy(io.Discard, in); drained != nil {
		return errors.Join(err, drained)
	}
	if got := v.digester.Digest(); got != desc.Digest || v.n != desc.Size {
		return fmt.Errorf("it is damaged: %d bytes with digest %s instead of %d bytes with %s", v.n, got, desc.Size, desc.Digest)
	}
	return err
}

// errHostile is in every error about what no proper image has.
var errHostile = errors.New("refused")

func hostile(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errHostile}, args...)...)
}

func tooMuch(most int64) error { return hostile("the image unpacks to more than %d bytes", most) }

// meter fails when an image unpacks to too much.
type meter struct {
	in io.Reader
	*extraction
}

// Read reads what the layer unpacks to.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.in.Read(p)
	if m.unpacked += int64(n); m.unpacked > m.most {
		return n, tooMuch(m.most)
	}
	return n, err
}

// decompress goes by the first bytes: media types of layers are told wrongly now and then.
func decompress(in *bufio.Reader) (io.ReadCloser, error) {
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		return gzip.NewReader(in)
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(in), nil
}

// entries applies one layer. A layer's own whiteouts are about what is below it, wherever in the layer they stand.
func (x *extraction) entries(in *tar.Reader) error {
	below := x.files
	added := map[string]string{}
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean(header.Name), "/")
		if name == ".." || strings.HasPrefix(name, "../") || slices.Contains(strings.Split(header.Name, "/"), "..") {
			return hostile("the image has a file %q, outside of itself", header.Name)
		}
		if err := x.entry(in, header, name, below, added); err != nil {
			return err
		}
	}
	maps.Copy(below, added)
	return nil
}

func (x *extraction) entry(in io.Reader, header *tar.Header, name string, below, added map[string]string) error {
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	switch {
	case base == opaqueWhiteout:
		if within(imageDir, dir) {
			return drop(below)
		}
	case strings.HasPrefix(base, whiteout):
		gone := path.Join(dir, strings.TrimPrefix(base, whiteout))
		if within(imageDir, gone) {
			return drop(below)
		} else if dir == imageDir {
			return drop(below, path.Base(gone))
		}
	case within(imageDir, name):
		// What is no directory hides all that was below it.
		if header.Typeflag != tar.TypeDir {
			return errors.Join(drop(below), drop(added))
		}
	case dir == imageDir:
		h, ok := handlerOf(base)
		if !ok {
			return nil
		}
		if err := errors.Join(drop(below, base), drop(added, base)); err != nil {
			return err
		}
		file, err := x.file(in, header, h)
		added[base] = file
		return err
	}
	return nil
}

// drop forgets the files of these names, or all, and removes what was unpacked of them: an image that replaces its files over and over
// must not fill the disk.
func drop(files map[string]string, names ...string) error {
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(files))
	}
	for _, name := range names {
		if file := files[name]; file != "" {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
		delete(files, name)
	}
	return nil
}

// within reports whether dir is inside of, or is, ancestor. The image's root is "" or ".".
func within(dir, ancestor string) bool {
	return ancestor == "" || ancestor == "." || dir == ancestor || strings.HasPrefix(dir, ancestor+"/")
}

// handlerOf reads an emulator's name. Those of BuildKit's image (buildkit-qemu-aarch64) are changed to be started by BuildKit, and
// no good for binfmt_misc.
func handlerOf(base string) (Handler, bool) {
	bare, ok := strings.CutPrefix(base, "qemu-")
	if !ok {
		return Handler{}, false
	}
	bare = strings.TrimSuffix(bare, "-static")
	i := slices.IndexFunc(handlers, func(h Handler) bool { return h.QEMU == bare })
	if i < 0 {
		return Handler{}, false
	}
	return handlers[i], true
}

func (x *extraction) file(in io.Reader, header *tar.Header, h Handler) (string, error) {
	if !x.wanted(h) {
		return "", nil
	}
	if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeGNUSparse {
		return "", hostile("%s is %s and no regular file", header.Name, kind(header))
	}
	// The reader makes up the holes, so that nothing of them passes the meter.
	if sparse(header) {
		return "", hostile("%s is a sparse file", header.Name)
	}
	if header.Size > maxEmulator {
		return "", hostile("%s has %d bytes, an emulator has at most %d", header.Name, header.Size, maxEmulator)
	}
	if header.Size > x.most-x.unpacked {
		return "", tooMuch(x.most)
	}
	x.serial++
	file := filepath.Join(x.dir, fmt.Sprintf("%d-%s", x.serial, h.QEMU))
	return file, writeFile(file, in)
}

// sparse reports whether a file is packed without its holes: the old way by its type, newer ones by records. Source:
// https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
func sparse(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return header.Typeflag == tar.TypeGNUSparse
}

// writeFile writes a new program and has the disk keep it.
func writeFile(name string, content io.Reader) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err == nil {
		// Whatever the umask is, a step's own user must be able to run it.
		err = file.Chmod(0o755)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func kind(header *tar.Header) string {
	switch header.Typeflag {
	case tar.TypeSymlink:
		return fmt.Sprintf("a symbolic link to %q", header.Linkname)
	case tar.TypeLink:
		return fmt.Sprintf("a link to %q", header.Linkname)
	case tar.TypeDir:
		return "a directory"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a pipe"
	}
	return fmt.Sprintf("of type %q", string(header.Typeflag))
}
