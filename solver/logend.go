// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// LogEnd returns the last lines, at most as many as given and a MB, of the log of the solvers that were started on demand; empty if there
// is none.
func LogEnd(s State, lines int) (string, error) {
	state, err := s.Resolve()
	if err != nil {
		return "", err
	}
	f, err := os.Open(state.Log())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the solver's log: %w", err)
	}
	defer func() { _ = f.Close() }()
	const most = 1 << 20
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, err = f.Seek(-most, io.SeekEnd)
		if err != nil {
			return "", fmt.Errorf("reading the solver's log: %w", err)
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return "", fmt.Errorf("reading the solver's log: %w", err)
	}
	all := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-max(0, lines)):], ""), nil
}
