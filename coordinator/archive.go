// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// archive is a file that is written beside its destination and gets its name only when the build succeeded.
type archive struct {
	dest string
	temp *os.File
}

// tar makes the file of a tar output; "-" is standard output.
func (d *delivery) tar(dest string, stdout io.Writer) (io.Writer, error) {
	if dest == "-" {
		return stdout, nil
	}
	temp, err := os.CreateTemp(filepath.Dir(dest), "."+filepath.Base(dest)+".mab-*")
	if err != nil {
		return nil, fmt.Errorf("writing %q: %w", dest, err)
	}
	d.archives = append(d.archives, &archive{dest: dest, temp: temp})
	return temp, nil
}

// creatable reports why a directory could not be made at path, before a build is spent on it.
func creatable(path string) error {
	at := filepath.Clean(path)
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("writing to %q: %q is not a directory", path, at)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(at) == at {
			return fmt.Errorf("writing to %q: %w", path, err)
		}
		at = filepath.Dir(at)
	}
	probe, err := os.MkdirTemp(at, ".mab-probe-")
	if err != nil {
		return fmt.Errorf("writing to %q: %w", path, err)
	}
	return os.Remove(probe)
}

func (a *archive) commit() error {
	if a.temp == nil {
		return nil
	}
	temp := a.temp
	a.temp = nil
	err := errors.Join(temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), a.dest)
	}
	// The name, too, is to survive a power cut. Not all systems and file systems can be asked for that.
	if dir, openErr := os.Open(filepath.Dir(a.dest)); err == nil && openErr == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", a.dest, errors.Join(err, os.Remove(temp.Name())))
	}
	return nil
}

func (a *archive) discard() error {
	if a.temp == nil {
		return nil
	}
	return errors.Join(a.temp.Close(), os.Remove(a.temp.Name()))
}

type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }
