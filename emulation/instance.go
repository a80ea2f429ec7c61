// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// HostDir is where the host's instance of binfmt_misc is mounted, by systemd and by everybody else.
const HostDir = "/proc/sys/fs/binfmt_misc"

// Flags that mab registers emulators with. Source: https://docs.kernel.org/admin-guide/binfmt-misc.html
//
//   - F: the kernel opens QEMU when it is registered. Containers need no file of it, and replacing or removing the
//     file changes no running build.
//   - P: QEMU learns the program's argv[0]. Without it a program is told its path instead, which breaks those that are
//     called by several names in other ways than by path (exec -a, login shells, multi-call programs).
//   - C: a setuid program gets its owner's rights; without it, sudo, su and ping in a RUN step run without any.
//     What they gain is bounded by the container, as for native programs, and Docker's own emulators
//     (tonistiigi/binfmt) have it too. The kernel adds O (the program is opened by the kernel and handed to QEMU as
//     an open file), which lets programs run that their user may execute but not read, and takes no script for an
//     interpreter. The program sees no file descriptor more.
const Flags = "PCF"

// Instance is a mounted binfmt_misc file system.
type Instance struct {
	// Dir is where it is mounted.
	Dir string
	// Private is true for the one MountPrivate made: it belongs to the caller's user namespace.
	Private bool
}

// Entry is one registered file format.
type Entry struct {
	Name        string
	Enabled     bool
	Interpreter string
	Flags       string // in the kernel's order, which is POCF
	Offset      int
	Magic, Mask []byte // no Magic: recognised by its file name's extension
	Extension   string // without the dot
}

// Matches reports whether the kernel hands a file that begins with head to the entry, if it is enabled. The kernel looks at no
// more than the first 256 bytes.
func (e Entry) Matches(head []byte) bool { return matches(head, e.Offset, e.Magic, e.Mask) }

// Enabled reports whether the instance as a whole takes part in executing programs. It returns an error that is fs.ErrNotExist
// where Dir is no instance: not mounted, or another operating system.
func (in Instance) Enabled() (bool, error) {
	status, err := os.ReadFile(filepath.Join(in.Dir, "status"))
	if err != nil {
		return false, fmt.Errorf("reading the state of binfmt_misc: %w", err)
	}
	return strings.TrimSpace(string(status)) == "enabled", nil
}

// List returns the entries, sorted by name. An entry that vanishes meanwhile is left out.
func (in Instance) List() ([]Entry, error) {
	files, err := os.ReadDir(in.Dir)
	if err != nil {
		return nil, fmt.Errorf("listing binfmt_misc handlers: %w", err)
	}
	var entries []Entry
	for _, file := range files {
		if file.Name() == "register" || file.Name() == "status" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(in.Dir, file.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading binfmt_misc handler %q: %w", file.Name(), err)
		}
		e, err := parseEntry(file.Name(), string(text))
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseEntry reads what the kernel's entry_status() writes. Lines of kernels to come are skipped.
func parseEntry(name, text string) (Entry, error) {
	e := Entry{Name: name}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	switch lines[0] {
	case "enabled":
		e.Enabled = true
	case "disabled":
	default:
		return e, fmt.Errorf("reading binfmt_misc handler %q: unknown state %q", name, lines[0])
	}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, " ")
		var err error
		switch key {
		case "interpreter":
			e.Interpreter = value
		case "flags:":
			e.Flags = value
		case "offset":
			e.Offset, err = strconv.Atoi(value)
			if err == nil && e.Offset < 0 {
				err = strconv.ErrRange
			}
		case "magic":
			e.Magic, err = hex.DecodeString(value)
		case "mask":
			e.Mask, err = hex.DecodeString(value)
		case "extension":
			e.Extension = strings.TrimPrefix(value, ".")
		}
		if err != nil {
			return e, fmt.Errorf("reading binfmt_misc handler %q: line %q: %w", name, line, err)
		}
	}
	return e, nil
}

// Register adds a handler, enabled, which interpreter (an absolute path) serves with these flags. With flag F the interpreter must
// exist now. Its errors are the kernel's: fs.ErrExist if the name is taken, fs.ErrPermission without the right to.
func (in Instance) Register(h Handler, interpreter, flags string) error {
	line, err := registration(h, interpreter, flags)
	if err != nil {
		return err
	}
	if err := in.write("register", line); err != nil {
		return fmt.Errorf("registering handler %s for %q: %w", h.Name, interpreter, err)
	}
	return nil
}

// registration is the line that the kernel's create_entry() reads.
func registration(h Handler, interpreter, flags string) (string, error) {
	if !filepath.IsAbs(interpreter) {
		return "", fmt.Errorf("registering handler %s: path %q is not absolute", h.Name, interpreter)
	}
	// The delimiter is free to choose, and a path may hold colons. A letter of the flags would be taken for the delimiter.
	for _, delimiter := range ":,;|" {
		d := string(delimiter)
		if !strings.Contains(interpreter+h.Name, d) {
			return d + strings.Join([]string{h.Name, "M", "0", escape(h.Magic), escape(h.Mask), interpreter, flags}, d), nil
		}
	}
	return "", fmt.Errorf("registering handler %s: path %q holds every delimiter", h.Name, interpreter)
}

// escape writes each byte as \xNN: the kernel's parser works on C strings, where a zero byte would end the field.
func escape(b []byte) string {
	var out strings.Builder
	for _, c := range b {
		fmt.Fprintf(&out, `\x%02x`, c)
	}
	return out.String()
}

// Unregister removes an entry. Programs that run already go on; no new ones start.
func (in Instance) Unregister(name string) error {
	if name == "" || name == "register" || name == "status" || filepath.Base(name) != name {
		return fmt.Errorf("unregistering handler %q: not the name of one", name)
	}
	if err := in.write(name, "-1"); err != nil {
		return fmt.Errorf("unregistering handler %q: %w", name, err)
	}
	return nil
}

// write hands text to the kernel in one system call, which is one command.
func (in Instance) write(name, text string) error {
	file, err := os.OpenFile(filepath.Join(in.Dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
