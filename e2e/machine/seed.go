// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is a file or a directory of this host, and its absolute path in a machine.
type File struct{ From, To string }

// seedOf returns what makes a machine this one, as a tar in a file without a name that the caller closes.
func seedOf(keys keys, files []File) (*os.File, error) {
	seed, err := os.CreateTemp("", "mab-machine-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(seed.Name()), writeSeed(seed, keys, files)); err != nil {
		return nil, errors.Join(err, seed.Close())
	}
	return seed, nil
}

func writeSeed(w io.Writer, keys keys, files []File) error {
	archive := tar.NewWriter(w)
	if err := keys.add(archive); err != nil {
		return err
	}
	for _, file := range files {
		if err := add(archive, file.From, strings.TrimPrefix(file.To, "/")); err != nil {
			return err
		}
	}
	return archive.Close()
}

// add adds a file, or a directory with all in it, to the archive under the name to, owned by root.
func add(archive *tar.Writer, from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		header.Name = filepath.ToSlash(filepath.Join(to, below))
		header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
		if err := archive.WriteHeader(header); err != nil || entry.IsDir() {
			return err
		}
		return addContent(archive, path)
	})
}

func addContent(archive *tar.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(archive, file)
	return err
}
