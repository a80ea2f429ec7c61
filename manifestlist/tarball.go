// SPDX-License-Identifier: Apache-2.0

package manifestlist

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
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tarball is a tar with blobs in it. It is not unpacked: what is in it is read where it lies.
type tarball struct {
	file    string
	members map[string]span
	blobs   map[digest.Digest]span   // those that an older archive of docker has under other names
	made    map[digest.Digest][]byte // manifests for what has none
}

// span is where a member's content lies. Sizes are in bytes.
type span struct{ offset, size int64 }

var _ Blobs = (*tarball)(nil)

// String returns the file, for messages.
func (t *tarball) String() string { return t.file }

// Open opens a blob. A missing one is an error that is fs.ErrNotExist.
func (t *tarball) Open(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("locating blob %q: %w", desc.Digest, err)
	}
	if raw, ok := t.made[desc.Digest]; ok {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	at, ok := t.blobs[desc.Digest]
	if !ok {
		at, ok = t.members[path.Join(ocispec.ImageBlobsDir, desc.Digest.Algorithm().String(), desc.Digest.Encoded())]
	}
	if !ok {
		return nil, fmt.Errorf("blob %s is not in %q: %w", desc.Digest, t.file, fs.ErrNotExist)
	}
	return t.open(at)
}

func (t *tarball) open(at span) (io.ReadCloser, error) {
	f, err := os.Open(t.file)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, at.offset, at.size), f}, nil
}

func (t *tarball) read(name string) ([]byte, error) {
	at, ok := t.members[path.Clean(name)]
	if !ok {
		return nil, fmt.Errorf("%q is not in it: %w", name, fs.ErrNotExist)
	}
	if at.size > maxDocument {
		return nil, fmt.Errorf("%q is larger than %d bytes", name, maxDocument)
	}
	rc, err := t.open(at)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// openTar finds the members of a tar, and reads its index.json, or makes one from the manifest.json of docker.
func openTar(file string) (ocispec.Index, Blobs, error) {
	t := &tarball{file: file, members: map[string]span{}, blobs: map[digest.Digest]span{}, made: map[digest.Digest][]byte{}}
	if err := t.list(); err != nil {
		return ocispec.Index{}, nil, hintf(fmt.Errorf("reading it as a tar: %w", err),
			"it must be a tar of an OCI layout, or what docker save writes, and not compressed: unpack it with gunzip")
	}
	var index ocispec.Index
	raw, err := t.read(ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		if index, err = t.readDocker(); errors.Is(err, fs.ErrNotExist) {
			err = hintf(err, "an image archive has an index.json (OCI) or a manifest.json (docker save) in it")
		}
		return index, t, err
	}
	if err != nil {
		return index, nil, err
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return index, nil, fmt.Errorf("reading index.json: %w", err)
	}
	return index, t, nil
}

func (t *tarball) list() error {
	f, err := os.Open(t.file)
	if err != nil {
		return err
	}
	defer f.Close()
	for archive := tar.NewReader(f); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeReg:
			t.members[path.Clean(header.Name)] = span{offset, header.Size}
		case tar.TypeLink, tar.TypeSymlink:
			// docker save writes a layer that several images have once.
			target := header.Linkname
			if header.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(header.Name), target)
			}
			if at, ok := t.members[path.Clean(target)]; ok {
				t.members[path.Clean(header.Name)] = at
			}
		}
	}
}

// readDocker makes an index of docker's manifest.json, which names files instead of digests.
// Source: https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md#combined-image-json--filesystem-changeset-format
func (t *tarball) readDocker() (ocispec.Index, error) {
	raw, err := t.read("manifest.json")
	if err != nil {
		return ocispec.Index{}, err
	}
	var saved []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(raw, &saved); err != nil {
		return ocispec.Index{}, fmt.Errorf("reading manifest.json: %w", err)
	}
	var index ocispec.Index
	for _, image := range saved {
		desc, err := t.makeManifest(image.Config, image.Layers)
		if err != nil {
			return ocispec.Index{}, err
		}
		for _, name := range image.RepoTags {
			tag := name[strings.LastIndexByte(name, ':')+1:]
			desc.Annotations = map[string]string{containerdName: name, ocispec.AnnotationRefName: tag}
			index.Manifests = append(index.Manifests, desc)
		}
		if len(image.RepoTags) == 0 {
			index.Manifests = append(index.Manifests, desc)
		}
	}
	return index, nil
}

func (t *tarball) makeManifest(configName string, layers []string) (ocispec.Descriptor, error) {
	rawConfig, err := t.read(configName)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	m.SchemaVersion = 2
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(rawConfig), Size: int64(len(rawConfig))}
	t.made[m.Config.Digest] = rawConfig
	for _, name := range layers {
		layer, err := t.describeLayer(name)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		m.Layers = append(m.Layers, layer)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	t.made[desc.Digest] = raw
	return desc, nil
}

// describeLayer reads a layer for its digest: its name promises none. That its content is right, the diff IDs tell.
func (t *tarball) describeLayer(name string) (ocispec.Descriptor, error) {
	at, ok := t.members[path.Clean(name)]
	if !ok {
		return ocispec.Descriptor{}, fmt.Errorf("%q is not in it: %w", name, fs.ErrNotExist)
	}
	rc, err := t.open(at)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer rc.Close()
	got, err := digest.FromReader(rc)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("reading %q: %w", name, err)
	}
	t.blobs[got] = at
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: got, Size: at.size}, nil
}
