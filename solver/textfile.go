// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// textFile is a directory with one file that is nowhere but in memory, as the solver reads directories. Without a name it is an
// empty directory.
type textFile struct {
	name    string
	content []byte
}

// Walk visits the file if target is empty or names it. Of anything else there is nothing to visit, as in a directory of fsutil.
func (f *textFile) Walk(_ context.Context, target string, visit fs.WalkDirFunc) error {
	target = filepath.Clean("/" + target)[1:]
	if f.name == "" || target != "" && target != f.name {
		return nil
	}
	stat := &types.Stat{Path: f.name, Mode: 0o644, Size: int64(len(f.content))}
	err := visit(f.name, &fsutil.DirEntryInfo{Stat: stat}, nil)
	if errors.Is(err, fs.SkipDir) || errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

// Open opens the file.
func (f *textFile) Open(name string) (io.ReadCloser, error) {
	if f.name == "" || filepath.Clean("/" + name)[1:] != f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(bytes.NewReader(f.content)), nil
}
