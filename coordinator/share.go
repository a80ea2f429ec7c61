// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/solver"
)

// share is what one of several solves of a build leaves behind.
type share struct {
	exports []solver.Export
	// blobs is the directory that gets the image. Empty: it is pushed.
	blobs string
	// tars are the parts of tar outputs, in the order of the delivery's, and trees those of directories.
	tars  []*os.File
	trees []tree
}

// share prepares what a solve of a part of the build leaves behind. Through means that it sends the image here, because its node does
// not reach the registry. What is left of a share is removed with the delivery.
func (d *delivery) share(through bool) (*share, error) {
	out := &share{}
	for _, e := range d.exports {
		var err error
		switch {
		case e.Tar != nil:
			err = out.addTar(&e)
		case e.Dir != "":
			err = out.addTree(&e)
		case e.Blobs != "", through && e.Attrs["push-by-digest"] == "true":
			err = d.divert(&e, out)
		}
		if err != nil {
			return nil, errors.Join(err, out.discard())
		}
		out.exports = append(out.exports, e)
	}
	return out, nil
}

// addTar makes a file without a name for a part of a tar output.
func (s *share) addTar(e *solver.Export) error {
	part, err := os.CreateTemp("", "mab-part-")
	if err == nil {
		err = os.Remove(part.Name())
	}
	if err != nil {
		return fmt.Errorf("making a file for a part of the output: %w", err)
	}
	s.tars = append(s.tars, part)
	e.Tar = func() (io.WriteCloser, error) { return keepOpen{part}, nil }
	return nil
}

// divert has an image come here as blobs, in a directory of its own: two nodes may send the same blob at once.
func (d *delivery) divert(e *solver.Export, s *share) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.staging == "" {
		if err := d.stage(); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(d.staging, "part-")
	if err != nil {
		return fmt.Errorf("making a directory for the image's blobs: %w", err)
	}
	s.blobs = dir
	// What other nodes push themselves is of type image.
	e.AsImage = e.Type == outputImage
	e.Type, e.Blobs, e.Attrs = outputOCI, dir, maps.Clone(e.Attrs)
	for _, name := range []string{"push", "push-by-digest", insecureAttr} {
		delete(e.Attrs, name)
	}
	e.Attrs["tar"] = "false"
	if len(e.Names) > 0 {
		e.Attrs["name"] = strings.Join(e.Names, ",")
	}
	return nil
}

// discard gives up what a solve that failed has left.
func (s *share) discard() error {
	var errs []error
	for _, part := range s.tars {
		errs = append(errs, part.Close())
	}
	if s.blobs != "" {
		errs = append(errs, os.RemoveAll(s.blobs))
	}
	for _, t := range s.trees {
		errs = append(errs, t.discard())
	}
	return errors.Join(errs...)
}

// join makes one of the shares, which come in the order of the plan: their blobs become those of the staging directory, and their tars one.
func (d *delivery) join(shares []*share) error {
	for _, s := range shares {
		if s.blobs == "" {
			continue
		}
		if err := moveBlobs(s.blobs, d.staging); err != nil {
			return fmt.Errorf("joining the image's blobs: %w", err)
		}
	}
	if err := moveTrees(shares); err != nil {
		return fmt.Errorf("joining the parts of a directory: %w", err)
	}
	n := 0
	for _, e := range d.exports {
		if e.Tar == nil {
			continue
		}
		var parts []*os.File
		for _, s := range shares {
			parts = append(parts, s.tars[n])
		}
		n++
		if err := joinTars(e, parts); err != nil {
			return fmt.Errorf("joining the parts of a tar: %w", err)
		}
	}
	return nil
}

// moveBlobs moves what one directory of blobs holds into another of the same file system.
func moveBlobs(from, to string) error {
	root := filepath.Join(from, ocispec.ImageBlobsDir)
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o700); err != nil {
			return err
		}
		return os.Rename(path, filepath.Join(to, name))
	})
}

// joinTars writes the entries of all parts as one archive.
func joinTars(e solver.Export, parts []*os.File) error {
	out, err := e.Tar()
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	for _, part := range parts {
		if _, err := part.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := copyTar(archive, tar.NewReader(part)); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), out.Close())
}

func copyTar(to *tar.Writer, from *tar.Reader) error {
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = to.WriteHeader(header)
		}
		if err == nil {
			_, err = io.Copy(to, from)
		}
		if err != nil {
			return err
		}
	}
}

// several reads each blob from the first that has it.
type several []manifestlist.Blobs

var _ manifestlist.Blobs = several{}

// Open tells, if nobody has the blob, what the first of them said.
func (s several) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	var first error
	for _, from := range s {
		rc, err := from.Open(ctx, desc)
		if err == nil {
			return rc, nil
		}
		first = cmp.Or(first, err)
	}
	return nil, first
}

// witness knows whether something could not be read, which says nothing of what is there.
type witness struct {
	manifestlist.Blobs
	failed atomic.Bool
}

// Open opens.
func (w *witness) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := w.Blobs.Open(ctx, desc)
	if err != nil {
		w.failed.Store(true)
		return nil, err
	}
	return witnessed{rc, w}, nil
}

type witnessed struct {
	io.ReadCloser
	by *witness
}

// Read reads.
func (w witnessed) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.by.failed.Store(true)
	}
	return n, err
}

// ordered sorts what came in any order by a rank.
func ordered[T any](list []T, rank func(T) int) []T {
	return slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(rank(a), rank(b)) })
}
