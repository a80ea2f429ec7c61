// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutScheme is how buildx names OCI layouts (--build-context NAME=oci-layout://PATH).
const layoutScheme = "oci-layout://"

// isLayoutPath reports whether s is a path rather than a reference: it says so, or starts as no reference can.
func isLayoutPath(s string) bool {
	return strings.HasPrefix(s, layoutScheme) || filepath.IsAbs(s) || s == "." || s == ".." ||
		strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") ||
		strings.HasPrefix(s, "."+string(filepath.Separator)) || strings.HasPrefix(s, ".."+string(filepath.Separator))
}

// found is a result that was looked up: its root, and where what it reaches is read from.
type found struct {
	name string // in full
	root document
	from Blobs
}

// Source is an index or a manifest that was found.
type Source struct {
	Name  string // in full
	Root  ocispec.Descriptor
	Raw   []byte // the bytes that Root describes
	Blobs Blobs  // where what it reaches is read from
}

// Find looks up what source names, as for Fetch.
func (c *Client) Find(ctx context.Context, source string) (*Source, error) {
	f, err := c.find(ctx, source)
	if err != nil {
		return nil, err
	}
	return &Source{f.name, f.root.desc, f.root.raw, f.from}, nil
}

// IsMissing reports whether err is that of a blob or manifest which is not where it should be.
func IsMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || status(err) == http.StatusNotFound
}

// Fetch reads the index or manifest that source names: a reference, or an OCI layout as oci-layout://PATH or a path that
// starts with / or . , either with :TAG or @DIGEST behind it. A layout is a directory, or a tar of one; what docker save has
// written is read, too. The descriptor's digest is that of the bytes; what was asked for by digest is verified. In a layout of one
// image neither tag nor digest is needed.
func (c *Client) Fetch(ctx context.Context, source string) (ocispec.Descriptor, []byte, error) {
	f, err := c.find(ctx, source)
	return f.root.desc, f.root.raw, err
}

func (c *Client) find(ctx context.Context, source string) (found, error) {
	if isLayoutPath(source) {
		f, err := findInLayout(ctx, strings.TrimPrefix(source, layoutScheme))
		if err != nil {
			return found{}, fmt.Errorf("reading OCI layout %q: %w", source, err)
		}
		return f, nil
	}
	ref, err := ParseReference(source)
	if err != nil {
		return found{}, err
	}
	var failure error
	for _, at := range c.readers(ref) {
		s, err := c.session(at, transport.PullScope)
		if err != nil {
			return found{}, err
		}
		doc, err := s.manifest(ctx, at.identifier())
		if err == nil {
			doc.desc.MediaType = ownMediaType(doc)
			return found{ref.String(), doc, c.Repository(at)}, nil
		}
		// Of all failures, that of the registry itself counts: it is the last one.
		failure = err
	}
	return found{}, pathHint(source, explain("reading", ref, failure))
}

// ownMediaType believes the bytes before the registry's Content-Type, which some get wrong.
func ownMediaType(doc document) string {
	var says struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(doc.raw, &says); err == nil && says.MediaType != "" {
		return says.MediaType
	}
	return doc.desc.MediaType
}

// pathHint tells who meant a directory how to say so.
func pathHint(source string, err error) error {
	path, _, _ := splitLayoutPath(source)
	if _, statErr := os.Stat(filepath.Join(path, ocispec.ImageLayoutFile)); statErr != nil {
		return err
	}
	return hintf(err, "to read the directory, write ./%s", source)
}

// splitLayoutPath takes the tag or digest off a path. Directories with a colon in their name are found, too.
func splitLayoutPath(s string) (path, tag string, dgst digest.Digest) {
	if before, after, ok := strings.Cut(s, "@"); ok {
		if d, err := digest.Parse(after); err == nil {
			s, dgst = before, d
		}
	}
	if _, err := os.Stat(s); err == nil {
		return s, "", dgst
	}
	if colon := strings.LastIndexByte(s, ':'); colon > 0 && !strings.ContainsAny(s[colon:], `/\`) {
		return s[:colon], s[colon+1:], dgst
	}
	return s, "", dgst
}

func findInLayout(ctx context.Context, source string) (found, error) {
	path, tag, dgst := splitLayoutPath(source)
	index, blobs, err := openLayout(path)
	if err != nil {
		return found{}, err
	}
	desc, err := choose(index.Manifests, tag, dgst)
	if err != nil {
		return found{}, err
	}
	doc := document{desc: ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}}
	if doc.raw, err = ReadBlob(ctx, blobs, desc); err != nil {
		return found{}, err
	}
	return found{layoutScheme + source, doc, blobs}, nil
}

// openLayout reads the index.json of a directory, or of a tar.
func openLayout(path string) (ocispec.Index, Blobs, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return openTar(path)
	}
	raw, err := os.ReadFile(filepath.Join(path, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ocispec.Index{}, nil, hintf(err, "an OCI layout is a directory with oci-layout, index.json and blobs in it, or a tar of that")
	}
	if err != nil {
		return ocispec.Index{}, nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return ocispec.Index{}, nil, fmt.Errorf("reading index.json: %w", err)
	}
	return index, BlobDir(path), nil
}

// choose picks the entry of an index.json by tag, full name or digest; without any of them, the only image there is.
func choose(entries []ocispec.Descriptor, tag string, dgst digest.Digest) (ocispec.Descriptor, error) {
	var names []string
	var matches []ocispec.Descriptor
	for _, d := range entries {
		if d.ArtifactType != "" && tag == "" && dgst == "" {
			continue // it is no image, but told of one
		}
		ref, full := d.Annotations[ocispec.AnnotationRefName], d.Annotations[containerdName]
		if name := cmp.Or(full, ref, d.Digest.String()); !slices.Contains(names, name) {
			names = append(names, name)
		}
		if (tag == "" || tag == ref || tag == full) && (dgst == "" || dgst == d.Digest) {
			matches = append(matches, d)
		}
	}
	if len(matches) == 0 {
		return ocispec.Descriptor{}, hintf(errors.New("no such image in it"), "it holds: %s", strings.Join(names, ", "))
	}
	for _, d := range matches[1:] {
		if d.Digest != matches[0].Digest {
			return ocispec.Descriptor{}, hintf(errors.New("several images are in it"), "add :TAG or @DIGEST; it holds: %s", strings.Join(names, ", "))
		}
	}
	return matches[0], nil
}
