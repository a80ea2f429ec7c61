// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// mostKept is how many bytes a CacheDir keeps by default: some thousand layers.
const mostKept = 64 << 20

// CacheDir is a Cache in a directory of its own, which is made when it is needed. What was not used for the longest time goes first. What
// the disk does not take is not kept. Several processes may share one.
type CacheDir struct {
	Dir string
	// Most is how many bytes are kept. 0: 64 MiB.
	Most int64
}

var _ Cache = CacheDir{}

// Get reads a file, and notes that it is used.
func (d CacheDir) Get(name string) []byte {
	path := filepath.Join(d.Dir, name)
	value, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // Else it goes earlier than it might.
	return value
}

// Put writes a file, and makes room for it.
func (d CacheDir) Put(name string, value []byte) {
	if int64(len(value)) > d.most() || os.MkdirAll(d.Dir, 0o700) != nil {
		return
	}
	file, err := os.CreateTemp(d.Dir, temporaryName)
	if err != nil {
		return
	}
	_, err = file.Write(value)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(d.Dir, name))
	}
	if err != nil {
		_ = os.Remove(file.Name()) // A full disk takes nothing more.
	}
	d.prune()
}

func (d CacheDir) most() int64 { return cmp.Or(d.Most, mostKept) }

// Files that are being written have names of their own. What is older than staleAfter, nobody writes any more.
const (
	temporaryName = ".new-*"
	staleAfter    = time.Hour
)

// prune removes what was not used for the longest time, until the rest is not too large.
func (d CacheDir) prune() {
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return
	}
	var files []os.FileInfo
	sum := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		if temporary, _ := filepath.Match(temporaryName, e.Name()); temporary && time.Since(info.ModTime()) < staleAfter {
			continue
		}
		files, sum = append(files, info), sum+info.Size()
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if sum <= d.most() {
			return
		}
		sum -= f.Size()
		_ = os.Remove(filepath.Join(d.Dir, f.Name())) // Another process may have been faster.
	}
}
