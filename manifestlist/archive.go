// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ArchiveConfig says what WriteArchive writes, and where.
type ArchiveConfig struct {
	// File is the path to write; the file appears whole or not at all. Used if Writer is nil.
	File string
	// Writer is written to instead, as the archive comes; if WriteArchive fails, what it got so far is worth nothing.
	Writer io.Writer
	// Docker adds the manifest.json that docker load, podman load and skopeo's docker-archive: read. Such an archive holds
	// one platform.
	Docker bool
	// Names are the full names of the result; none leaves it without a name.
	Names []Reference
}

// WriteArchive writes idx and all it reaches as a tar: an OCI image layout, with cfg.Docker one that docker can load. The
// same idx and names give the same bytes: entries are sorted, and carry neither times nor owners. Every blob is verified. The
// Referrer of idx, if it has one, is in index.json behind the names.
func WriteArchive(ctx context.Context, idx Index, from Blobs, cfg ArchiveConfig) error {
	where := "a stream"
	if cfg.Writer == nil {
		where = fmt.Sprintf("%q", cfg.File)
	}
	if err := writeArchive(ctx, idx, from, cfg); err != nil {
		return fmt.Errorf("writing image archive to %s: %w", where, err)
	}
	return nil
}

func writeArchive(ctx context.Context, idx Index, from Blobs, cfg ArchiveConfig) error {
	if cfg.Docker && len(idx.Images) != 1 {
		return hintf(fmt.Errorf("a docker archive holds one platform, not %d", len(idx.Images)),
			"name one with --platform, or write type=oci, which holds all")
	}
	all, err := reach(ctx, idx, from)
	if err != nil {
		return err
	}
	all.refer(idx.Referrer)
	entries, err := archiveEntries(idx, all, cfg)
	if err != nil {
		return err
	}
	write := func(out io.Writer) error { return writeTar(ctx, out, entries, from) }
	if cfg.Writer != nil {
		return write(cfg.Writer)
	}
	return replaceFile(cfg.File, write)
}

// tarEntry is a directory (desc zero), or a file with what desc describes.
type tarEntry struct {
	name string
	mode int64
	desc ocispec.Descriptor
}

func fileEntry(name string, mode int64, raw []byte) tarEntry {
	return tarEntry{name, mode, ocispec.Descriptor{Digest: digest.FromBytes(raw), Size: int64(len(raw)), Data: raw}}
}

// archiveEntries lists the archive in its order. Names and modes are those of containerd's exporter, which BuildKit uses.
func archiveEntries(idx Index, all contents, cfg ArchiveConfig) ([]tarEntry, error) {
	index, err := layoutIndex(ocispec.Index{}, withReferrer(named(idx.Descriptor, cfg.Names, nil), idx.Referrer))
	if err != nil {
		return nil, err
	}
	entries := []tarEntry{
		{name: ocispec.ImageBlobsDir + "/", mode: 0o755},
		fileEntry(ocispec.ImageLayoutFile, 0o444, layoutFile),
		fileEntry(ocispec.ImageIndexFile, 0o644, index),
	}
	if cfg.Docker {
		raw, err := dockerFile(idx, all, cfg.Names)
		if err != nil {
			return nil, err
		}
		entries = append(entries, fileEntry("manifest.json", 0o644, raw))
	}
	add := func(desc ocispec.Descriptor) {
		dir := path.Join(ocispec.ImageBlobsDir, desc.Digest.Algorithm().String()) + "/"
		entries = append(entries, tarEntry{name: dir, mode: 0o755}, tarEntry{dir + desc.Digest.Encoded(), 0o444, desc})
	}
	for _, desc := range all.blobs {
		add(desc)
	}
	for _, doc := range append(all.manifests, all.root) {
		doc.desc.Data = doc.raw
		add(doc.desc)
	}
	byName := func(a, b tarEntry) int { return cmp.Compare(a.name, b.name) }
	slices.SortFunc(entries, byName)
	return slices.CompactFunc(entries, func(a, b tarEntry) bool { return a.name == b.name }), nil
}

// dockerFile is docker's manifest.json.
// Source: https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md#combined-image-json--filesystem-changeset-format
func dockerFile(idx Index, all contents, names []Reference) ([]byte, error) {
	raw := all.root.raw
	for _, doc := range all.manifests {
		if doc.desc.Digest == idx.Images[0].Manifest.Digest {
			raw = doc.raw
		}
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	blobPath := func(d digest.Digest) string {
		return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
	}
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: blobPath(m.Config.Digest)}
	for _, ref := range names {
		entry.RepoTags = append(entry.RepoTags, ref.Familiar())
	}
	for _, l := range m.Layers {
		entry.Layers = append(entry.Layers, blobPath(l.Digest))
	}
	return json.Marshal([]any{entry})
}

func writeTar(ctx context.Context, out io.Writer, entries []tarEntry, from Blobs) error {
	tw := tar.NewWriter(out)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: e.mode, Typeflag: tar.TypeDir}
		if e.desc.Digest != "" {
			header.Typeflag, header.Size = tar.TypeReg, e.desc.Size
		}
		if err := tw.WriteHeader(header); err != nil {
			return err
		}
		if e.desc.Digest == "" {
			continue
		}
		if err := copyBlob(ctx, tw, from, e.desc); err != nil {
			return err
		}
	}
	return tw.Close()
}

func copyBlob(ctx context.Context, out io.Writer, from Blobs, desc ocispec.Descriptor) error {
	rc, err := OpenBlob(ctx, from, desc)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, rc)
	return errors.Join(err, rc.Close())
}
