// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/klauspost/compress/zstd"
	"github.com/moby/buildkit/session/upload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// archive is a tar, compressed or not, that the solver reads out of the session as often as it likes, and unpacks.
type archive struct {
	file *os.File
	size int64
	// sum is the SHA-256 of the content in hex. It names the archive, so that two builds share what they send only if it is the
	// same, and so that the provenance of an unchanged build does not change.
	sum string
	// unseen is a tar that BuildKit would take for a file, by its beginning. It is sent in a wrapping of gzip, which BuildKit sees.
	unseen bool
	// temp is a file of our own, which goes when the archive is closed.
	temp bool
}

// url is the address by which BuildKit's http source finds the archive in the session.
func (a *archive) url() string { return "http://buildkit-session/" + a.sum }

// openArchive opens a local tar file as a context. The caller closes it.
func openArchive(ctx context.Context, path string) (*archive, error) {
	file, err := openTar(path)
	if err != nil {
		return nil, err
	}
	a := &archive{file: file}
	sum := sha256.New()
	if a.size, err = io.Copy(sum, untilDone{ctx, file}); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the context %q: %w", path, err), a.close())
	}
	a.sum = hex.EncodeToString(sum.Sum(nil))
	if err := a.check(path); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// openTar opens a file that begins as an archive does.
func openTar(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the context: %w", err)
	}
	head := make([]byte, headSize)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("opening the context %q: %w", path, err), file.Close())
	}
	if err := acceptable(path, head[:n]); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if format(head[:n]) == "" {
		return nil, errors.Join(&contextError{path: path, what: "is neither a directory nor a tar archive",
			hint: "if it is the Dockerfile, name it with -f and give the directory of the context: mab build -f " + path + " ."}, file.Close())
	}
	return file, nil
}

// check looks for a tar behind the compression: BuildKit would take what is none for a file, and then miss the Dockerfile. It
// leaves xz to the solver.
func (a *archive) check(name string) error {
	head := bufio.NewReaderSize(a.open(), headSize)
	magic, _ := head.Peek(headSize)
	var content io.Reader
	var err error
	kind := format(magic)
	switch kind {
	case "gzip":
		content, err = gzip.NewReader(head)
	case "bzip2":
		content = bzip2.NewReader(head)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(head, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			content = z
		}
	case "xz":
		return nil
	default:
		content = head
		_, short := tar.NewReader(bytes.NewReader(magic[:min(len(magic), seenSize)])).Next()
		a.unseen = short != nil
	}
	if err == nil {
		err = beginTar(content)
	}
	if err != nil {
		return &contextError{path: name, what: fmt.Sprintf("is %s, but holds no tar archive (%v)", kind, err), hint: archiveHint}
	}
	return nil
}

// open reads the archive from its start, whoever else reads it.
func (a *archive) open() io.Reader { return io.NewSectionReader(a.file, 0, a.size) }

// close ends all reading.
func (a *archive) close() error {
	if a == nil {
		return nil
	}
	err := a.file.Close()
	if !a.temp {
		return err
	}
	if gone := os.Remove(a.file.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// headSize is how much of a file tells what it is. In a tar, headers that extend the first entry's go before it (long names,
// attributes, the commit of git archive): archive/tar takes one of up to 1 MiB.
const headSize = 1 << 20

// seenSize is how much of a file BuildKit looks at to tell a tar.
// Source: https://github.com/moby/buildkit/blob/v0.33.1/frontend/dockerui/context.go (the Range of ReadFile)
const seenSize = 1024

const archiveHint = "pack it with: tar -czf - -C DIR . (plain, gzip, bzip2, xz and zstd are understood)"

// formats are those that BuildKit unpacks, by how they begin.
// Source: https://github.com/moby/buildkit/blob/v0.33.1/frontend/dockerui/context.go (isArchive)
var formats = []struct{ magic, name string }{
	{"BZh", "bzip2"},
	{"\x1f\x8b\x08", "gzip"},
	{"\xfd7zXZ\x00", "xz"},
	{"\x28\xb5\x2f\xfd", "zstd"},
}

// foreign are archives and compressions that people try, and BuildKit cannot unpack.
// Source: https://en.wikipedia.org/wiki/List_of_file_signatures
var foreign = []struct{ magic, name string }{
	{"PK\x03\x04", "a zip archive"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive"},
	{"Rar!", "a rar archive"},
	{"\x04\x22\x4d\x18", "compressed by lz4"},
	{"LZIP", "compressed by lzip"},
	{"\x1f\x9d", "compressed by compress"},
	{"\x5d\x00\x00", "compressed by lzma"},
}

// format names the format of an archive that BuildKit unpacks; empty: it is none.
func format(head []byte) string {
	for _, f := range formats {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.name
		}
	}
	if beginTar(bytes.NewReader(head)) == nil {
		return "tar"
	}
	return ""
}

// beginTar reads the first entry of a tar, and what extends it. A tar without entries is one, too: it begins with its end, two
// blocks of zeros. https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06
func beginTar(in io.Reader) error {
	const end = 2 * 512
	head := bufio.NewReaderSize(in, end)
	if first, _ := head.Peek(end); len(first) == end && len(bytes.Trim(first, "\x00")) == 0 {
		return nil
	}
	_, err := tar.NewReader(head).Next()
	return err
}

// acceptable refuses what is an archive, but none that BuildKit unpacks.
func acceptable(name string, head []byte) error {
	for _, f := range foreign {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return &contextError{path: name, what: "is " + f.name, hint: archiveHint}
		}
	}
	return nil
}

// uploads serves archives to the solver over the session.
type uploads []*archive

// Register puts the service on the session.
func (u uploads) Register(server *grpc.Server) { upload.RegisterUploadServer(server, u) }

// Pull sends the archive that the solver names by the path of its URL.
func (u uploads) Pull(stream upload.Upload_PullServer) error {
	asked, _ := metadata.FromIncomingContext(stream.Context())
	for _, p := range asked.Get("urlpath") {
		for _, a := range u {
			if path.Base(p) != a.sum {
				continue
			}
			if err := a.send(stream); err != nil {
				return fmt.Errorf("sending the context: %w", err)
			}
			return nil
		}
	}
	return errors.New("sending the context: there is no such archive")
}

// send writes the archive so that BuildKit sees what it is.
func (a *archive) send(stream upload.Upload_PullServer) error {
	out := bufio.NewWriterSize(messages{stream}, 1<<20)
	if !a.unseen {
		if _, err := io.Copy(out, a.open()); err != nil {
			return err
		}
		return out.Flush()
	}
	wrapping, err := gzip.NewWriterLevel(out, gzip.NoCompression)
	if err != nil {
		return err
	}
	if _, err := io.Copy(wrapping, a.open()); err != nil {
		return err
	}
	if err := wrapping.Close(); err != nil {
		return err
	}
	return out.Flush()
}

// messages sends what is written.
type messages struct{ stream upload.Upload_PullServer }

func (m messages) Write(p []byte) (int, error) {
	if err := m.stream.SendMsg(&upload.BytesMessage{Data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// untilDone ends the reading of a long file when ctx does.
type untilDone struct {
	ctx context.Context //nolint:containedctx // io.Reader has no place for it; gigabytes must stop on Ctrl-C
	in  io.Reader
}

func (r untilDone) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}
