// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Process is one of a host.
type Process struct {
	// PID is its number in the host, and Line its command line. A zombie has none.
	PID  int
	Line string
}

// all lists the processes of the host but the one that holds it, by number, those in PID namespaces below it too.
func (h *Host) all() []Process {
	dirs, _ := filepath.Glob(h.Root() + "/proc/[0-9]*")
	var out []Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == 1 {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil {
			out = append(out, Process{pid, strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))})
		}
	}
	slices.SortFunc(out, func(a, b Process) int { return a.PID - b.PID })
	return out
}

// Processes lists what runs in the host, by number, but its sshd with what that has started for connections.
func (h *Host) Processes() []Process {
	return slices.DeleteFunc(h.all(), func(p Process) bool { return isSSHD(p.Line) })
}

// Connections is how many connections the host's sshd has let in.
func (h *Host) Connections() int {
	count := 0
	for _, p := range h.all() {
		if isSSHD(p.Line) && strings.Contains(p.Line, "@") {
			count++
		}
	}
	return count
}

// Leftovers lists, in a line each, the processes of the host but its idle sshd, and mounts that it had not at first.
func (h *Host) Leftovers() []string {
	var out []string
	for _, p := range h.all() {
		if !isSSHD(p.Line) || !strings.Contains(p.Line, "[listener]") {
			out = append(out, fmt.Sprintf("process %d %s", p.PID, p.Line))
		}
	}
	now, err := h.mounts()
	if err != nil {
		return append(out, err.Error())
	}
	for line := range now {
		if !h.initial[line] {
			out = append(out, "mount "+line)
		}
	}
	slices.Sort(out)
	return out
}

// Files lists what is on the host's disk, as paths that begin with lib (which is /var/lib), home, root, tmp or var (which is /var/tmp).
// Directories of the host itself are left out.
func (h *Host) Files() ([]string, error) {
	disk := filepath.Join(h.Root(), "run/disk")
	own := []string{".", "lib", "home", "home/pi", "root", "tmp", "var"}
	var out []string
	err := filepath.WalkDir(disk, func(path string, _ fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(disk, path)
		if relErr == nil && !slices.Contains(own, name) {
			out = append(out, name)
		}
		return err
	})
	return out, err
}

// mounts are the lines of the host's mount table.
func (h *Host) mounts() (map[string]bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", h.holder.pid()))
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		out[strings.TrimSpace(line)] = true
	}
	return out, nil
}
