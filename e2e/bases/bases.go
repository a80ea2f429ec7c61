// SPDX-License-Identifier: Apache-2.0

// Package bases makes the base images that tests and examples build on, out of Debian's packages and Go's own
// toolchain modules, for machines that reach no image registry. Its one rule: files are unpacked and packed again, and
// no program of an image is ever run to make it; so every platform's image is made on any machine, without emulation.
package bases

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/sync/errgroup"
)

// The names of the images that Make knows.
const (
	// Busybox holds /bin/sh and busybox's other applets, statically linked, and no library.
	Busybox = "busybox"
	// CC is Busybox and a C compiler with Debian's C library: gcc, as, ld, ar and their kin, static linking included.
	CC = "debian-cc"
	// GCC is a root of Debian 13 as its packages make it, with apt, and gcc and g++ of Debian's; for linux/amd64 and linux/arm64 only. Its
	// packages are unpacked, and none is configured.
	GCC = "debian-gcc"
	// Golang is Busybox and Go in /usr/local/go, for linux/amd64 and linux/arm64 only.
	Golang = "golang"
	// GolangCC is Golang and CC in one, as those who use cgo have it.
	GolangCC = "golang-cc"
)

// Config says where images are kept. Its zero value works.
type Config struct {
	// CacheDir keeps what was made, for the next call and for other processes; empty means mab-bases in the user's
	// cache directory.
	CacheDir string
	// Log is told what is being made; nil discards.
	Log *slog.Logger
}

// Platforms lists what the image name can be made for, in the order of the table of ports; none for an unknown name.
func Platforms(name string) []string {
	var list []string
	for _, p := range ports {
		if _, ok := recipeFor(name, p); ok {
			list = append(list, p.platform)
		}
	}
	return list
}

// Make returns the image called name for the platforms, as one OCI index in the order asked for; no platforms means all that
// Platforms lists. What the cache holds is used as it is and costs no network; the rest is made, and is cached whole or
// not at all. Several processes may make the same image at once. The images read the cache's files for as long as they are used.
func Make(ctx context.Context, cfg Config, name string, platforms []string) (v1.ImageIndex, error) {
	images, err := makeImages(ctx, cfg, name, platforms)
	if err != nil {
		return nil, fmt.Errorf("making base image %q: %w", name, err)
	}
	return indexOf(images), nil
}

// portImage is a cached image and the port that it is for.
type portImage struct {
	v1.Image
	port port
	dir  string // its OCI layout
}

func indexOf(images []portImage) v1.ImageIndex {
	var index v1.ImageIndex = empty.Index
	for _, image := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: image.port.ociPlatform()},
		})
	}
	return index
}

func makeImages(ctx context.Context, cfg Config, name string, platforms []string) ([]portImage, error) {
	maker, err := newMaker(cfg)
	if err != nil {
		return nil, err
	}
	if len(platforms) == 0 {
		platforms = Platforms(name)
	}
	orders, err := ordersFor(name, platforms)
	if err != nil {
		return nil, err
	}
	images := make([]portImage, len(orders))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, o := range orders {
		group.Go(func() error {
			image, dir, err := maker.image(ctx, o)
			if err != nil {
				return fmt.Errorf("for %s: %w", o.port.platform, err)
			}
			images[i] = portImage{Image: image, port: o.port, dir: dir}
			return nil
		})
	}
	return images, group.Wait()
}

// order is one image for one port.
type order struct {
	name   string
	port   port
	recipe recipe
}

func ordersFor(name string, platforms []string) ([]order, error) {
	var orders []order
	for _, platform := range platforms {
		i := slices.IndexFunc(ports, func(p port) bool { return p.platform == platform })
		if i < 0 {
			return nil, fmt.Errorf("no Debian port for platform %q", platform)
		}
		recipe, ok := recipeFor(name, ports[i])
		if !ok {
			return nil, fmt.Errorf("no such image for %s", platform)
		}
		o := order{name: name, port: ports[i], recipe: recipe}
		if len(recipe.whole) > 0 {
			o.port.release = trixie
		}
		orders = append(orders, o)
	}
	if len(orders) == 0 {
		return nil, fmt.Errorf("no such image; there are %s", strings.Join([]string{Busybox, CC, GCC, Golang, GolangCC}, ", "))
	}
	return orders, nil
}

// maker makes images into one cache directory.
type maker struct {
	cacheDir string
	log      *slog.Logger
	mirror   mirror
}

func newMaker(cfg Config) (*maker, error) {
	m := &maker{cacheDir: cfg.CacheDir, log: cfg.Log}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.cacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		m.cacheDir = filepath.Join(dir, "mab-bases")
	}
	var err error
	if m.cacheDir, err = filepath.Abs(m.cacheDir); err != nil {
		return nil, err
	}
	m.mirror, err = machineMirror()
	return m, err
}
