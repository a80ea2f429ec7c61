// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// archive is a file that is written beside its destination and gets its name only when the build succeeded.
type archive struct {
	dest string
	temp *os.File
}

// tar opens a tar output when the solver has it; "-" is standard output.
func (d *delivery) tar(dest string, stdout io.Writer) func() (io.WriteCloser, error) {
	if dest == "-" {
		return func() (io.WriteCloser, error) { return keepOpen{stdout}, nil }
	}
	a := &archive{dest: dest}
	d.archives = append(d.archives, a)
	return func() (io.WriteCloser, error) {
		temp, err := os.CreateTemp(filepath.Dir(dest), "."+filepath.Base(dest)+".*")
		if err != nil {
			return nil, fmt.Errorf("writing %q: %w", dest, err)
		}
		a.temp = temp
		// The solver closes its writer on failure too, so closing cannot mean success.
		return keepOpen{temp}, nil
	}
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
