// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LayoutConfig says where WriteLayout writes.
type LayoutConfig struct {
	// Dir is the layout's directory; it is made, parents included, if it does not exist.
	Dir string
	// Names are the entries index.json gets for the result. None gives one entry with the tag latest, as BuildKit does.
	Names []Reference
	// Link hard-links blobs from a BlobDir instead of copying them, where the file system can. It is meant for a staging
	// directory that nobody writes to any more: its blobs were verified when they were written, and are not again.
	Link bool
}

// WriteLayout writes idx and all it reaches as an OCI image layout. A directory that does not exist appears as a whole or not
// at all. To one that exists blobs are added; its index.json is replaced last, in one step, and keeps the entries of other
// names. The Referrer of idx, if it has one, gets an entry without a name behind the others. Unreferenced blobs of replaced entries stay. Whatever goes wrong, ctx's end included, what was there before is
// there afterwards, and nothing else. Two mabs that write to one directory wait for each other; BuildKit's clients, which
// take the same lock, are kept out.
func WriteLayout(ctx context.Context, idx Index, from Blobs, cfg LayoutConfig) error {
	if err := writeLayout(ctx, idx, from, cfg); err != nil {
		return fmt.Errorf("writing OCI layout %q: %w", cfg.Dir, err)
	}
	return nil
}

func writeLayout(ctx context.Context, idx Index, from Blobs, cfg LayoutConfig) error {
	all, err := reach(ctx, idx, from)
	if err != nil {
		return err
	}
	all.refer(idx.Referrer)
	w := &layoutWriter{from: from, all: all, referrer: idx.Referrer, entries: named(idx.Descriptor, cfg.Names, map[string]string{ocispec.AnnotationRefName: "latest"})}
	if cfg.Link {
		w.links, _ = from.(BlobDir)
	}
	dir := filepath.Clean(cfg.Dir)
	if there, err := exists(dir); err != nil {
		return err
	} else if !there {
		err := w.create(ctx, dir)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Somebody else made it in the meantime.
	}
	return w.add(ctx, dir)
}

type layoutWriter struct {
	from    Blobs
	links   BlobDir // "" copies
	all     contents
	entries []ocispec.Descriptor
	// referrer gets an entry, too; nil: there is none.
	referrer *Referrer
	made     []string // files to take away again on failure
}

// create writes a directory that does not exist yet.
func (w *layoutWriter) create(ctx context.Context, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return err
	}
	temp := tempName(dir)
	if err := os.Mkdir(temp, 0o777); err != nil {
		return err
	}
	defer os.RemoveAll(temp) // gone already when all went well
	if err := w.fill(ctx, temp, ocispec.Index{}); err != nil {
		return err
	}
	// Where the name was taken by now, renaming fails with fs.ErrExist, unless it is an empty directory, which loses nothing.
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	syncDir(filepath.Dir(dir))
	return nil
}

// add writes into a directory that exists.
func (w *layoutWriter) add(ctx context.Context, dir string) (err error) {
	unlock, err := lockLayout(ctx, filepath.Join(dir, ocispec.ImageIndexFile+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	old, err := readLayoutIndex(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.undo(dir)
		}
	}()
	return w.fill(ctx, dir, old)
}

// undo removes what was made, and the directories of blobs if nothing else is in them.
func (w *layoutWriter) undo(dir string) {
	for _, path := range w.made {
		_ = os.Remove(path)
		if parent := filepath.Dir(path); parent != dir {
			_ = os.Remove(parent)
			_ = os.Remove(filepath.Dir(parent))
		}
	}
}

func readLayoutIndex(dir string) (ocispec.Index, error) {
	path := filepath.Join(dir, ocispec.ImageIndexFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ocispec.Index{}, nil
	}
	if err != nil {
		return ocispec.Index{}, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return ocispec.Index{}, hintf(fmt.Errorf("reading %q: %w", path, err), "name another directory, or remove this one if it is no use")
	}
	return index, nil
}

// fill writes blobs, then oci-layout, then index.json; what comes later is on the disk later.
func (w *layoutWriter) fill(ctx context.Context, dir string, old ocispec.Index) error {
	for _, desc := range w.all.blobs {
		if err := w.place(ctx, dir, desc); err != nil {
			return err
		}
	}
	for _, doc := range append(w.all.manifests, w.all.root) {
		desc := doc.desc
		desc.Data = doc.raw // it is in memory already, and the index is nowhere else
		if err := w.place(ctx, dir, desc); err != nil {
			return err
		}
	}
	// Blobs that are linked were synced by whoever wrote them, but not their names.
	for _, algorithm := range w.algorithms() {
		syncDir(filepath.Join(dir, ocispec.ImageBlobsDir, algorithm))
	}
	syncDir(filepath.Join(dir, ocispec.ImageBlobsDir))
	layout := filepath.Join(dir, ocispec.ImageLayoutFile)
	if there, err := exists(layout); err != nil {
		return err
	} else if !there {
		w.made = append(w.made, layout)
		if err := writeBytes(layout, layoutFile); err != nil {
			return err
		}
	}
	raw, err := layoutIndex(old, withReferrer(replaceEntries(old.Manifests, w.entries), w.referrer))
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return writeBytes(filepath.Join(dir, ocispec.ImageIndexFile), raw)
}

// algorithms are those of the digests that were made.
func (w *layoutWriter) algorithms() (out []string) {
	for _, path := range w.made {
		if name := filepath.Base(filepath.Dir(path)); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func writeBytes(path string, raw []byte) error {
	return replaceFile(path, func(out io.Writer) error {
		_, err := io.Copy(out, bytes.NewReader(raw))
		return err
	})
}

// place brings one blob into dir, if it is not there yet.
func (w *layoutWriter) place(ctx context.Context, dir string, desc ocispec.Descriptor) error {
	path, err := BlobDir(dir).Path(desc.Digest)
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.Size() == desc.Size {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	w.made = append(w.made, path)
	if w.link(path, desc) {
		return ctx.Err()
	}
	rc, err := OpenBlob(ctx, w.from, desc)
	if err != nil {
		return err
	}
	defer rc.Close()
	return replaceFile(path, func(out io.Writer) error {
		_, err := io.Copy(out, rc)
		return err
	})
}

// link reports whether path is now the staged blob; if not, for whatever reason, it is to be copied.
func (w *layoutWriter) link(path string, desc ocispec.Descriptor) bool {
	if w.links == "" || desc.Data != nil {
		return false
	}
	source, err := w.links.Path(desc.Digest)
	if err != nil {
		return false
	}
	info, err := os.Stat(source)
	return err == nil && info.Size() == desc.Size && os.Link(source, path) == nil
}

// lockLayout takes the lock that BuildKit's client/ociindex takes, and removes its file as that does. ctx bounds the wait.
func lockLayout(ctx context.Context, path string) (unlock func(), err error) {
	for {
		lock := flock.New(path)
		if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
			return nil, fmt.Errorf("locking %q: %w", path, err)
		}
		// The holder before may have removed the file that is locked now: then the lock is worth nothing.
		held, err := lock.Stat()
		if current, statErr := os.Stat(path); err == nil && statErr == nil && os.SameFile(held, current) {
			return func() {
				_ = os.Remove(path)
				_ = lock.Unlock()
			}, nil
		}
		if err := errors.Join(lock.Unlock(), ctx.Err()); err != nil {
			return nil, fmt.Errorf("locking %q: %w", path, err)
		}
	}
}
