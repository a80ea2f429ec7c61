// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// clearlyFaster is by how much an emulator must have been measured faster to be taken instead of the one that comes first.
const clearlyFaster = 1.1

// Measurements are what Bench found out on one machine. The zero value has none.
type Measurements struct {
	// Kernel and Model are the machine's: on another these are none.
	Kernel string     `json:"kernel"`
	Model  string     `json:"model"`
	Of     []Measured `json:"measured"`
}

// ReadMeasurements reads a file that Write wrote. One that is not there, or damaged, or of another machine, has none.
func ReadMeasurements(path, kernel, model string) Measurements {
	none := Measurements{Kernel: kernel, Model: model}
	content, err := os.ReadFile(path)
	var out Measurements
	if err != nil || json.Unmarshal(content, &out) != nil || out.Kernel != kernel || out.Model != model {
		return none
	}
	return out
}

// Write writes the file. It is whole or as before.
func (m Measurements) Write(path string) error {
	content, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+".new", append(content, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("keeping what was measured: %w", err)
	}
	return nil
}

// With has list take the place of what was known of the same files.
func (m Measurements) With(list []Measured) Measurements {
	of := slices.DeleteFunc(slices.Clone(m.Of), func(old Measured) bool {
		return slices.ContainsFunc(list, func(l Measured) bool { return l.Platform == old.Platform && l.Emulator == old.Emulator })
	})
	m.Of = append(of, list...)
	return m
}

// several reports whether more than one emulator of a handler was measured: otherwise there is nothing to choose.
func (m Measurements) several(h Handler) bool {
	n := 0
	for _, one := range m.Of {
		if one.Emulator != "" && one.Problem == "" && slices.Contains(h.Platforms, one.Platform) {
			n++
		}
	}
	return n > 1
}

// find returns what is known of a file of this content.
func (m Measurements) find(h Handler, content digest.Digest) (Measured, bool) {
	at := slices.IndexFunc(m.Of, func(one Measured) bool {
		return content != "" && one.Digest == content && one.Relative > 0 && slices.Contains(h.Platforms, one.Platform)
	})
	if at < 0 {
		return Measured{}, false
	}
	return m.Of[at], true
}

// choose returns which of the emulators for a handler is taken, and why it is not the first; digests are those of their files. One that is known
// to be at fault with the guest is not taken if another was measured that is not.
func (m Measurements) choose(h Handler, list []Emulator, digests []digest.Digest, host platforms.Platform) (at int, why string) {
	first, measured := m.find(h, digests[0])
	if !measured {
		// Whoever put it there after the measuring wants it.
		return 0, ""
	}
	fault, troubled := TroubleWith(first.Version, h.Platforms[0], host)
	best := 0.0
	for i := 1; i < len(list); i++ {
		other, known := m.find(h, digests[i])
		_, bad := TroubleWith(other.Version, h.Platforms[0], host)
		faster := other.relativeTo(first.Speeds)
		if known && !bad && faster > best && (troubled || faster >= clearlyFaster) {
			at, best = i, faster
		}
	}
	switch {
	case at == 0:
		return 0, ""
	case troubled:
		return at, fmt.Sprintf("of QEMU %s (%s) it is known that %s", first.Version, list[0].Path, fault.What)
	}
	return at, fmt.Sprintf("measured %.2f times as fast as QEMU %s (%s)", best, first.Version, list[0].Path)
}

// digits3 rounds to three digits: the rest is noise.
func digits3(v float64) float64 {
	if v <= 0 || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(v)))
	return math.Round(v*scale) / scale
}

// Forget removes the file of measurements, and reports whether there was one.
func Forget(path string) (bool, error) {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("forgetting what was measured: %w", err)
	}
	return true, nil
}
