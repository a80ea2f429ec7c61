// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Refresh brings a private instance in line with the emulators that are there now, while programs may be running under it. A new
// emulator is registered. One that another file takes the place of is first registered under a second name, which the kernel
// then asks first, and only after that the old handler is removed: at no moment a program of the platform cannot start. A
// handler whose emulator is gone is removed if drop is true; else it goes on serving, from the file that the kernel holds open.
// It returns what was registered, in the order given. A file that was changed under the same path is not noticed.
func Refresh(ctx context.Context, in Instance, emulators []Emulator, drop bool) ([]Emulator, error) {
	entries, err := in.List()
	if err != nil {
		return nil, err
	}
	var changed []Emulator
	var failures []error
	fresh := make([]Emulator, 0, len(emulators))
	for _, e := range emulators {
		mine := registeredFor(entries, e.Handler)
		switch {
		case len(mine) == 0:
			fresh = append(fresh, e)
		case !slices.ContainsFunc(mine, func(m Entry) bool { return m.Interpreter == e.Path }):
			if err := in.exchange(e, mine); err != nil {
				failures = append(failures, err)
				continue
			}
			changed = append(changed, e)
		}
	}
	if drop {
		failures = append(failures, in.dropGone(entries, emulators))
	}
	added, err := RegisterAll(ctx, in, fresh)
	return append(changed, added...), errors.Join(append(failures, err)...)
}

// second is added to a handler's name where the first name is taken.
const second = "+"

func registeredFor(entries []Entry, h Handler) []Entry {
	var out []Entry
	for _, e := range entries {
		if strings.TrimSuffix(e.Name, second) == h.Name {
			out = append(out, e)
		}
	}
	return out
}

func (in Instance) exchange(e Emulator, old []Entry) error {
	h := e.Handler
	if slices.ContainsFunc(old, func(o Entry) bool { return o.Name == h.Name }) {
		h.Name += second
	}
	if err := in.Register(h, e.Path, Flags); err != nil {
		return err
	}
	var failures []error
	for _, o := range old {
		if o.Name != h.Name {
			failures = append(failures, in.Unregister(o.Name))
		}
	}
	return errors.Join(failures...)
}

func (in Instance) dropGone(entries []Entry, emulators []Emulator) error {
	var failures []error
	for _, entry := range entries {
		known := slices.ContainsFunc(handlers, func(h Handler) bool { return strings.TrimSuffix(entry.Name, second) == h.Name })
		kept := slices.ContainsFunc(emulators, func(e Emulator) bool { return strings.TrimSuffix(entry.Name, second) == e.Handler.Name })
		if known && !kept {
			failures = append(failures, in.Unregister(entry.Name))
		}
	}
	return errors.Join(failures...)
}
