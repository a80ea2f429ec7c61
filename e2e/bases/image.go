// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// format is part of every key in the cache; it changes when the same recipe gives other bytes.
const format = 1

// tempPrefix begins the names of directories that hold what is not yet whole.
const tempPrefix = ".making-"

// image returns the image of o and its OCI layout, which it makes if the cache does not have it whole.
func (m *maker) image(ctx context.Context, o order) (v1.Image, string, error) {
	dir := m.layoutDir(o)
	if image, err := readLayout(dir); err == nil {
		return image, dir, nil
	}
	// One image of a port is made at a time, as they share its apt root.
	apt := aptRoot{dir: filepath.Join(m.cacheDir, "apt", o.port.debian), port: o.port, from: m.mirror}
	if len(o.recipe.whole) > 0 {
		apt.dir += "-" + o.port.release.suite
	}
	unlock, err := apt.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	if image, err := readLayout(dir); err == nil {
		return image, dir, nil
	}
	if err := m.make(ctx, o, apt, dir); err != nil {
		return nil, "", err
	}
	image, err := readLayout(dir)
	return image, dir, err
}

// layoutDir is the place in the cache of what o gives with this recipe from this mirror.
func (m *maker) layoutDir(o order) string {
	key := sha256.Sum256(fmt.Appendf(nil, "%d %q %+v %q", format, o.name, o, m.mirror.stanza(o.port.release.suite)))
	return filepath.Join(m.cacheDir, o.name, strings.ReplaceAll(o.port.platform, "/", "-"), hex.EncodeToString(key[:8]))
}

// readLayout returns the only image of an OCI layout, or an error if a file of it is missing or cut short.
func readLayout(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(list.Manifests) != 1 {
		return nil, fmt.Errorf("%d images in %q", len(list.Manifests), dir)
	}
	image, err := index.Image(list.Manifests[0].Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	for _, blob := range append(manifest.Layers, manifest.Config, list.Manifests[0]) {
		info, err := os.Stat(filepath.Join(dir, "blobs", blob.Digest.Algorithm, blob.Digest.Hex))
		if err != nil {
			return nil, err
		}
		if info.Size() != blob.Size {
			return nil, fmt.Errorf("%q has %d bytes, not %d", blob.Digest, info.Size(), blob.Size)
		}
	}
	return image, nil
}

// make makes the image of o beside dir and moves it there when it is whole. The caller holds the lock of the port.
func (m *maker) make(ctx context.Context, o order, apt aptRoot, dir string) error {
	m.log.Info("making base image", "image", o.name, "platform", o.port.platform)
	return renew(dir, func(temp string) error {
		root, versions, err := o.packages(ctx, apt, temp)
		if err != nil {
			return err
		}
		if version := o.recipe.goSDK; version != "" {
			closeZip, err := root.addGo(ctx, version, o.port.platform)
			if err != nil {
				return err
			}
			defer func() { _ = closeZip() }()
			versions = append(versions, "go="+version)
		}
		made := filepath.Join(temp, "layout")
		if err := o.write(root, versions, made); err != nil {
			return err
		}
		return os.Rename(made, dir)
	})
}

// packages returns the root file system that o's packages give, and their versions.
func (o order) packages(ctx context.Context, apt aptRoot, temp string) (Tree, []string, error) {
	if len(o.recipe.whole) > 0 {
		return o.whole(ctx, apt, temp)
	}
	var names []string
	for _, pick := range o.recipe.picks {
		names = append(names, pick.pkg)
	}
	debs, err := apt.download(ctx, temp, names)
	if err != nil {
		return nil, nil, err
	}
	root := NewTree()
	var versions []string
	for i, deb := range debs {
		if err := root.AddDeb(ctx, deb, o.recipe.picks[i].keep); err != nil {
			return nil, nil, err
		}
		versions = append(versions, debVersion(deb))
	}
	for _, link := range o.recipe.links {
		root[link[0]] = symlink(link[1])
	}
	return root, versions, root.AddApplets()
}

// write writes root as an image of one layer into a new OCI layout.
func (o order) write(root Tree, versions []string, dir string) error {
	platform := o.port.ociPlatform()
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err := mutate.ConfigFile(base, &v1.ConfigFile{
		OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant,
		Created: v1.Time{Time: time.Unix(0, 0).UTC()},
		RootFS:  v1.RootFS{Type: "layers"},
		Config:  v1.Config{Env: []string{"PATH=" + o.recipe.path}, Cmd: []string{"sh"}, WorkingDir: "/"},
	})
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	var group errgroup.Group
	group.Go(func() error {
		err := root.Write(writer)
		writer.CloseWithError(err)
		return err
	})
	layer := stream.NewLayer(reader, stream.WithCompressionLevel(gzip.BestSpeed), stream.WithMediaType(types.OCILayer))
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{
		Created: v1.Time{Time: time.Unix(0, 0).UTC()}, CreatedBy: "e2e/bases " + o.name, Comment: strings.Join(versions, " "),
	}})
	if err == nil {
		err = appendTo(dir, image)
	}
	reader.CloseWithError(errors.New("the layer is no longer wanted"))
	return errors.Join(group.Wait(), err)
}

func appendTo(dir string, image v1.Image) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendImage(image)
}
