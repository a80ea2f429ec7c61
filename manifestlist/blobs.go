// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"bytes"
	"context"
	_ "crypto/sha256" // digests of descriptors are made of these two
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxDocument bounds what is read into memory: manifests, indexes and configs. Registries take manifests up to 4 MiB
// (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests); configs have no such bound.
const maxDocument = 32 << 20

// Blobs is where manifests, configs and layers are read from: a BlobDir, a registry's repository, a node's content store.
type Blobs interface {
	// Open returns the content that desc describes. It need not check it: readers do. Errors name the blob. The caller
	// closes it.
	Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
}

// BlobDir is a directory that holds blobs/<algorithm>/<hex>, as OCI layouts and BuildKit's content stores do.
type BlobDir string

// Path returns the file that holds the blob, whether it exists or not.
func (d BlobDir) Path(dgst digest.Digest) (string, error) {
	if err := dgst.Validate(); err != nil {
		return "", fmt.Errorf("locating blob %q: %w", dgst, err)
	}
	return filepath.Join(string(d), ocispec.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded()), nil
}

// Open opens the blob's file. A missing one is an error that is fs.ErrNotExist.
func (d BlobDir) Open(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	path, err := d.Path(desc.Digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s is not in %q: %w", desc.Digest, string(d), fs.ErrNotExist)
	}
	return f, err
}

// String returns the directory, for messages.
func (d BlobDir) String() string { return string(d) }

// ReadBlob reads a manifest, index or config whole and checks its size and digest against desc: content that is not what desc
// promised gives a *DigestError. It refuses what is larger than 32 MiB.
func ReadBlob(ctx context.Context, from Blobs, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size < 0 || desc.Size > maxDocument {
		return nil, fmt.Errorf("reading %s: %d bytes is no size of a manifest or config", desc.Digest, desc.Size)
	}
	rc, err := OpenBlob(ctx, from, desc)
	if err != nil {
		return nil, err // it names the blob
	}
	defer rc.Close()
	raw, err := io.ReadAll(rc)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", desc.Digest, err)
	}
	return raw, nil
}

// verifyBytes checks content already in memory against desc.
func verifyBytes(source string, raw []byte, desc ocispec.Descriptor) error {
	r := newVerifier(source, io.NopCloser(bytes.NewReader(raw)), desc)
	_, err := io.Copy(io.Discard, r)
	return err
}

// OpenBlob opens a blob of any size. Reading it ends with io.EOF only if it was all that desc promised, else with a *DigestError;
// ctx ends it, too. The caller closes it.
func OpenBlob(ctx context.Context, from Blobs, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("reading %q: %w", desc.Digest, err)
	}
	if desc.Data != nil {
		return newVerifier("the descriptor", io.NopCloser(bytes.NewReader(desc.Data)), desc), nil
	}
	rc, err := from.Open(ctx, desc)
	if err != nil {
		return nil, err
	}
	source := "the blob store"
	if named, ok := from.(fmt.Stringer); ok {
		source = named.String()
	}
	v := newVerifier(source, rc, desc)
	v.ctx = ctx
	return v, nil
}

// verifier passes content on and turns its end into a *DigestError if it was not what desc promised. It never reads more than
// one byte beyond the promised size.
type verifier struct {
	io.Closer
	ctx    context.Context //nolint:containedctx // io.Reader has no place for it; a copy of gigabytes must stop on Ctrl-C
	in     io.Reader
	hash   hash.Hash
	source string
	desc   ocispec.Descriptor
	read   int64
}

func newVerifier(source string, rc io.ReadCloser, desc ocispec.Descriptor) *verifier {
	return &verifier{
		Closer: rc, ctx: context.Background(), in: io.LimitReader(rc, desc.Size+1),
		hash: desc.Digest.Algorithm().Hash(), source: source, desc: desc,
	}
}

// Read reads on; at the end it gives io.EOF only if all was right.
func (v *verifier) Read(p []byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := v.in.Read(p)
	v.read += int64(n)
	v.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		got := digest.NewDigest(v.desc.Digest.Algorithm(), v.hash)
		if v.read != v.desc.Size || got != v.desc.Digest {
			return 0, &DigestError{Source: v.source, Want: v.desc.Digest, Got: got, WantSize: v.desc.Size, GotSize: v.read}
		}
	}
	return n, err
}

// document is a manifest or index in memory.
type document struct {
	desc ocispec.Descriptor
	raw  []byte
}

// contents is all that an index reaches, every digest once, in the order of the index.
type contents struct {
	root      document
	manifests []document           // without the root
	blobs     []ocispec.Descriptor // configs and layers
}

// reach reads idx's manifests, verified, and lists what they hold.
func reach(ctx context.Context, idx Index, from Blobs) (contents, error) {
	c := contents{root: document{idx.Descriptor, idx.Raw}}
	if c.root.raw == nil {
		raw, err := ReadBlob(ctx, from, idx.Descriptor)
		if err != nil {
			return contents{}, err
		}
		c.root.raw = raw
	}
	seen := map[digest.Digest]bool{idx.Descriptor.Digest: true}
	if isImageType(idx.Descriptor.MediaType) {
		return c, c.addBlobs(c.root.raw, seen)
	}
	var index ocispec.Index
	if err := json.Unmarshal(c.root.raw, &index); err != nil {
		return contents{}, fmt.Errorf("reading index %s: %w", idx.Descriptor.Digest, err)
	}
	for _, desc := range index.Manifests {
		if !isImageType(desc.MediaType) {
			return contents{}, fmt.Errorf("reading index %s: %s is no image but %q", idx.Descriptor.Digest, desc.Digest, desc.MediaType)
		}
		if seen[desc.Digest] {
			continue
		}
		seen[desc.Digest] = true
		raw, err := ReadBlob(ctx, from, desc)
		if err != nil {
			return contents{}, err
		}
		c.manifests = append(c.manifests, document{desc, raw})
		if err := c.addBlobs(raw, seen); err != nil {
			return contents{}, err
		}
	}
	return c, nil
}

func (c *contents) addBlobs(raw []byte, seen map[digest.Digest]bool) error {
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("reading manifest: %w", err)
	}
	for _, desc := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := desc.Digest.Validate(); err != nil {
			return fmt.Errorf("reading manifest: digest %q: %w", desc.Digest, err)
		}
		if !seen[desc.Digest] {
			seen[desc.Digest] = true
			c.blobs = append(c.blobs, desc)
		}
	}
	return nil
}
