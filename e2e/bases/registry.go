// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// Image names an image to serve and its platforms; no platforms means all there are.
type Image struct {
	Name      string
	Platforms []string
}

// Registry is a running registry on a loopback port, to pull from and to push to.
type Registry struct {
	addr   string
	dir    string
	server *http.Server
	group  errgroup.Group
}

// Serve starts a registry that holds each image as localhost:PORT/NAME:latest, a multi-platform index; images that the
// cache lacks are made first. The blobs of base images are read from the cache; what is pushed is kept on disk until Close.
// The registry outlives ctx, and the caller closes it.
func Serve(ctx context.Context, cfg Config, images ...Image) (*Registry, error) {
	dir, err := os.MkdirTemp("", "mab-registry-")
	if err != nil {
		return nil, fmt.Errorf("starting a registry: %w", err)
	}
	blobs := blobDirs{filepath.Join(dir, "blobs")}
	indexes := make([]v1.ImageIndex, len(images))
	for i, image := range images {
		made, err := makeImages(ctx, cfg, image.Name, image.Platforms)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("making base image %q: %w", image.Name, err), os.RemoveAll(dir))
		}
		indexes[i] = indexOf(made)
		for _, m := range made {
			blobs = append(blobs, filepath.Join(m.dir, "blobs"))
		}
	}
	r, err := listen(ctx, dir, blobs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a registry: %w", err), os.RemoveAll(dir))
	}
	for i, image := range images {
		if err := r.push(ctx, image.Name, indexes[i]); err != nil {
			return nil, errors.Join(fmt.Errorf("serving base image %q: %w", image.Name, err), r.Close())
		}
	}
	return r, nil
}

func listen(ctx context.Context, dir string, blobs blobDirs) (*Registry, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	r := &Registry{
		addr: fmt.Sprintf("localhost:%d", listener.Addr().(*net.TCPAddr).Port),
		dir:  dir,
		server: &http.Server{
			Handler:  whole(dir, registry.New(registry.Logger(quiet), registry.WithBlobHandler(blobs), registry.WithReferrersSupport(true))),
			ErrorLog: quiet,
		},
	}
	r.group.Go(func() error {
		if err := r.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return r, nil
}

// whole hands a request on when all of its body is there, which is kept in a file of dir until then. The registry holds a
// lock while it reads a blob; a client that pushes several things at once may begin one upload, and first wait for another's end.
func whole(dir string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		file, err := os.CreateTemp(dir, "body-")
		if err == nil {
			defer os.Remove(file.Name())
			defer file.Close()
			_, err = io.Copy(file, r.Body)
		}
		if err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		r.Body = io.NopCloser(file)
		next.ServeHTTP(w, r)
	})
}

func (r *Registry) push(ctx context.Context, image string, index v1.ImageIndex) error {
	ref, err := name.NewTag(r.Ref(image), name.Insecure)
	if err != nil {
		return err
	}
	return remote.WriteIndex(ref, index, remote.WithContext(ctx))
}

// Addr is the registry's host and port, such as localhost:40123.
func (r *Registry) Addr() string { return r.addr }

// Ref is the reference of the image called name in the registry, tag latest.
func (r *Registry) Ref(name string) string { return r.addr + "/" + name + ":latest" }

// Close stops the registry, cuts what is still connected to it, and removes what was pushed.
func (r *Registry) Close() error {
	return errors.Join(r.server.Close(), r.group.Wait(), os.RemoveAll(r.dir))
}

// blobDirs keeps blobs as ALGORITHM/HEX below directories. New ones go to the first; the rest are only read. Unlike
// the registry's own handler for a disk it does not hash a file again for every question after its size.
type blobDirs []string

// Get opens a blob; the caller closes it.
func (d blobDirs) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	for _, dir := range d {
		file, err := os.Open(blobPath(dir, h))
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, registry.ErrNotFound
}

// Stat returns the size of a blob in bytes.
func (d blobDirs) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	for _, dir := range d {
		info, err := os.Stat(blobPath(dir, h))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	return 0, registry.ErrNotFound
}

// Put keeps a blob; the registry checks the digest as the content is read.
func (d blobDirs) Put(_ context.Context, _ string, h v1.Hash, content io.ReadCloser) error {
	defer content.Close()
	path := blobPath(d[0], h)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".upload-")
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return os.Rename(file.Name(), path)
}

func blobPath(dir string, h v1.Hash) string { return filepath.Join(dir, h.Algorithm, h.Hex) }
