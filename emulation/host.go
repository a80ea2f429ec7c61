// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// PersistDir is where systemd-binfmt(8) looks for handlers that an administrator wants at each start of the machine.
const PersistDir = "/etc/binfmt.d"

// ownPrefix begins the names of handlers that mab registers in the host's instance. All others are somebody else's, and mab neither
// changes nor removes them.
const ownPrefix = "mab-"

// HostConfig says what RegisterHost registers.
type HostConfig struct {
	// Emulators are those to register, by the link that stays when they are replaced.
	Emulators []Installed
	// Force registers also what a handler of somebody else serves well already: the kernel asks the newest handler first.
	Force bool
	// Dir is the directory of files that make handlers last, such as PersistDir.
	Dir string
	// Persist writes such files. Those that are there already stay in any case.
	Persist bool
}

// HostHandler is what became of one emulator.
type HostHandler struct {
	Installed
	// Name is the handler's; of somebody else's if Other.
	Name  string
	Other bool
	// File is the one that makes it last; "" if it lasts until the machine stops.
	File string
}

// RegisterHost registers emulators in an instance that others use too, under names of mab's own. A handler of mab's that is there
// already is replaced without a moment in which there is none. What was registered stays if a later one fails.
func RegisterHost(ctx context.Context, in Instance, cfg HostConfig) ([]HostHandler, error) {
	var out []HostHandler
	for _, e := range cfg.Emulators {
		entries, err := in.List()
		if err != nil {
			return out, err
		}
		if other, ok := served(ctx, e.Handler, entries); ok && !cfg.Force {
			out = append(out, HostHandler{Installed: e, Name: other, Other: true})
			continue
		}
		done := HostHandler{Installed: e}
		if done.Name, err = in.replace(ctx, e, own(entries, e.Handler)); err != nil {
			return out, err
		}
		if cfg.Persist {
			if err := persist(cfg.Dir, e); err != nil {
				return out, err
			}
		}
		if file := persistFile(cfg.Dir, e.Handler); exists(file) {
			done.File = file
		}
		out = append(out, done)
	}
	return out, nil
}

// served names somebody else's handler that runs programs of h here and in containers; ok is false if there is none, or mab has one.
func served(ctx context.Context, h Handler, entries []Entry) (name string, ok bool) {
	program, known := Program(h.Platforms[0])
	if !known || len(own(entries, h)) > 0 {
		return "", false
	}
	i := slices.IndexFunc(entries, func(e Entry) bool {
		return e.Enabled && e.Matches(program) && strings.Contains(e.Flags, "F") && strings.Contains(e.Flags, "P")
	})
	if i < 0 || Probe(ctx, h.Platforms[0], "") != nil {
		return "", false
	}
	return entries[i].Name, true
}

// own returns the names of mab's handlers for h. There may be several if a replacement was interrupted.
func own(entries []Entry, h Handler) []string {
	var out []string
	for _, e := range entries {
		base, number, numbered := strings.Cut(strings.TrimPrefix(e.Name, ownPrefix+h.QEMU), ".")
		_, err := strconv.Atoi(number)
		if strings.HasPrefix(e.Name, ownPrefix+h.QEMU) && base == "" && (!numbered || err == nil) {
			out = append(out, e.Name)
		}
	}
	return out
}

// replace registers an emulator under a free name, makes sure that it serves, and only then removes the old handlers.
func (in Instance) replace(ctx context.Context, e Installed, old []string) (string, error) {
	h := e.Handler
	h.Name = ownPrefix + h.QEMU
	for n := 2; slices.Contains(old, h.Name); n++ {
		h.Name = ownPrefix + h.QEMU + "." + strconv.Itoa(n)
	}
	if err := in.Register(h, e.Link, Flags); err != nil {
		return "", hostError(err)
	}
	if err := Probe(ctx, h.Platforms[0], ""); err != nil {
		return "", errors.Join(fmt.Errorf("trying handler %s: %w", h.Name, err), in.Unregister(h.Name))
	}
	for _, name := range old {
		if err := in.Unregister(name); err != nil {
			return "", err
		}
	}
	return h.Name, nil
}

// UnregisterHost removes mab's handlers for these from the instance, and their files from the directory persist. It returns the names
// and files that it removed, and the names of other people's handlers for the same, which stay.
func UnregisterHost(in Instance, list []Handler, persist string) (removed, others []string, err error) {
	entries, err := in.List()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, h := range list {
		names := own(entries, h)
		for _, name := range names {
			if err := in.Unregister(name); err != nil {
				return removed, others, hostError(err)
			}
			removed = append(removed, name)
		}
		file := persistFile(persist, h)
		switch err := os.Remove(file); {
		case err == nil:
			removed = append(removed, file)
		case !errors.Is(err, fs.ErrNotExist):
			return removed, others, hostError(fmt.Errorf("removing a handler's file: %w", err))
		}
		program, _ := Program(h.Platforms[0])
		for _, e := range entries {
			if e.Matches(program) && !slices.Contains(names, e.Name) {
				others = append(others, e.Name)
			}
		}
	}
	return removed, others, nil
}

// OwnHost returns the handlers of the table for which the instance, or the directory persist, has something of mab's.
func OwnHost(in Instance, persist string) ([]Handler, error) {
	entries, err := in.List()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []Handler
	for _, h := range handlers {
		if exists(persistFile(persist, h)) || len(own(entries, h)) > 0 {
			out = append(out, h)
		}
	}
	return out, nil
}

func persistFile(dir string, h Handler) string {
	return filepath.Join(dir, ownPrefix+h.QEMU+".conf")
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// persist writes a file as binfmt.d(5) has it. The file appears whole.
func persist(dir string, e Installed) error {
	h := e.Handler
	h.Name = ownPrefix + h.QEMU
	line, err := registration(h, e.Link, Flags)
	if err != nil {
		return err
	}
	text := "# By mab emulation install --host --persist; mab emulation uninstall --host removes it.\n" + line + "\n"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return hostError(fmt.Errorf("making handlers last: %w", err))
	}
	file := persistFile(dir, e.Handler)
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		return hostError(fmt.Errorf("making handlers last: %w", err))
	}
	return os.Rename(file+".new", file)
}

// HostError is the host's instance that cannot be changed.
type HostError struct {
	Err  error
	hint string
}

// Error tells the kernel's answer.
func (e *HostError) Error() string { return e.Err.Error() }

// Unwrap returns it.
func (e *HostError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *HostError) Hint() string { return e.hint }

func hostError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return &HostError{err, "only root can change the host's handlers: run it with sudo; builds of mab's own need no --host"}
	}
	return err
}
