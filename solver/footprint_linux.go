// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// diskBlock is the unit of st_blocks, whatever the file system (stat(2)).
const diskBlock = 512

// Footprint measures a state on disk, without a solver. A state that does not exist takes nothing. What goes away meanwhile is not
// counted, nor are directories that this user may not read, but Unreadable then says so.
func (s State) Footprint(ctx context.Context) (Footprint, error) {
	state, err := s.Resolve()
	if err != nil {
		return Footprint{}, err
	}
	out := Footprint{Root: state.Root, Parts: []Part{}}
	entries, err := os.ReadDir(state.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return Footprint{}, fmt.Errorf("measuring the solver's state: %w", err)
	}
	m := meter{ctx: ctx.Err, seen: make(map[inode]bool)}
	for _, e := range entries {
		m.size = 0
		if err := filepath.WalkDir(filepath.Join(state.Root, e.Name()), m.visit); err != nil {
			return Footprint{}, fmt.Errorf("measuring the solver's state: %w", err)
		}
		if m.size > 0 {
			out.Parts = append(out.Parts, Part{Name: e.Name(), Size: m.size})
		}
		out.Total += m.size
	}
	out.Unreadable = m.unreadable
	slices.SortStableFunc(out.Parts, func(a, b Part) int { return cmp.Compare(b.Size, a.Size) })
	return out, nil
}

type inode struct{ device, number uint64 }

// meter adds up what files take. One that has several names is counted once.
type meter struct {
	ctx        func() error
	seen       map[inode]bool
	size       int64
	unreadable int
}

func (m *meter) visit(_ string, entry fs.DirEntry, err error) error {
	if err := m.ctx(); err != nil {
		return err
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		m.unreadable++
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	key := inode{stat.Dev, stat.Ino}
	if !info.IsDir() && stat.Nlink > 1 && m.seen[key] {
		return nil
	}
	m.seen[key] = true
	m.size += stat.Blocks * diskBlock
	return nil
}
