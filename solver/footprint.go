// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"errors"
	"io/fs"
	"os"
)

// Footprint is what a state takes on disk: the cache, and all else that mab keeps there.
type Footprint struct {
	Root string `json:"root"`
	// Parts are what Root holds, the largest first, but for what takes nothing.
	Parts []Part `json:"parts"`
	// Total is in bytes.
	Total int64 `json:"total"`
	// Unreadable is how many directories could not be looked into, so that Total is too small.
	Unreadable int `json:"unreadable"`
}

// Part is one file or directory of a state with all that is in it.
type Part struct {
	Name string `json:"name"`
	// Size is in bytes, as the disk counts them.
	Size int64 `json:"size"`
}

// Fresh reports whether a state is known to hold no cache: no solver has ever run there. It is false where that cannot be seen.
func (s State) Fresh() bool {
	state, err := s.Resolve()
	if err != nil {
		return false
	}
	if _, err := os.ReadDir(state.Root); err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return len(state.workers()) == 0
}
