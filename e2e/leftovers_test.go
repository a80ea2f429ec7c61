// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// vanish is how soon everything of a solver or a container must be gone after its end.
const vanish = 2 * time.Second

// newWatchedLab is newLab for tests that break things: at the end the machine must be as it was before, and no command may have
// left a file where temporary files go.
func newWatchedLab(t testing.TB) *lab {
	t.Helper()
	need(t)
	before := lookAround()
	temp := t.TempDir()
	var l *lab
	t.Cleanup(func() {
		if l == nil {
			return
		}
		within(t, vanish, "processes, mounts, handlers or control groups are left", func() string {
			return strings.Join(l.traces(), "\n") + cmp.Diff(before, lookAround())
		})
		for _, dir := range []string{temp, l.dir} {
			if left := tree(t, dir); len(left) > 0 {
				t.Errorf("files are left: %q", left)
			}
		}
	})
	l = newLab(t)
	l.env = append(l.env, "TMPDIR="+temp)
	return l
}

// within fails the test if a list of complaints is not empty soon enough.
func within(t testing.TB, limit time.Duration, what string, complaints func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		text := strings.TrimSpace(complaints())
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("after %v: %s\n%s", limit, what, text)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tree lists what is below a directory.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if path != dir {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// surroundings is what a build could leave behind outside of its directory, other than processes.
type surroundings struct {
	Mounts, Handlers, EmptyGroups []string
}

// containerID is how BuildKit names containers and, by it, their control groups.
var containerID = regexp.MustCompile(`^[a-z0-9]{25}$`)

func lookAround() surroundings {
	var out surroundings
	for _, line := range mounts(os.Getpid()) {
		if regexp.MustCompile(`mab|overlay|nsfs|binfmt_misc`).MatchString(line) {
			out.Mounts = append(out.Mounts, line)
		}
	}
	entries, _ := os.ReadDir("/proc/sys/fs/binfmt_misc")
	for _, e := range entries {
		out.Handlers = append(out.Handlers, e.Name())
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && containerID.MatchString(d.Name()) {
			if tasks, err := os.ReadFile(path + "/cgroup.procs"); err == nil && len(tasks) == 0 {
				out.EmptyGroups = append(out.EmptyGroups, path)
			}
		}
		return nil
	})
	return out
}

// mounts are the lines of a process's mount table; none if the process is gone.
func mounts(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func pids() []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(string(text), "\x00", " ")
}

// traces lists the processes that were told the lab's directory or that see a mount of it: mab and what it started, containers
// included.
func (l *lab) traces() []string {
	var out []string
	for _, pid := range pids() {
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		seen := commandLine(pid) + string(environ)
		for _, line := range mounts(pid) {
			// A directory may be a mount of its own, which the test made.
			if fields := strings.Fields(line); len(fields) > 4 && fields[4] != l.root {
				seen += line
			}
		}
		if strings.Contains(seen, l.root) {
			out = append(out, fmt.Sprintf("%d %s", pid, commandLine(pid)))
		}
	}
	return out
}

// containers lists the processes of the lab's containers whose command line holds a text.
func (l *lab) containers(text string) []int {
	var out []int
	for _, pid := range pids() {
		if strings.Contains(commandLine(pid), text) && strings.Contains(strings.Join(mounts(pid), "\n"), l.root+"/") {
			out = append(out, pid)
		}
	}
	return out
}

// solver returns the process that listens on the lab's socket, or 0.
func (l *lab) solver() int {
	conn, err := net.Dial("unix", filepath.Join(l.root, "solver.sock"))
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// family is a solver with all that it started, as it was at one moment.
type family struct {
	// born is when each process was started, in ticks since the boot; a number alone can be given again.
	born       map[int]uint64
	latest     uint64
	namespaces map[string]bool
	containers []string
}

var namespaceKinds = []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}

// family looks at the lab's solver and everything below it.
func (l *lab) family() family {
	l.t.Helper()
	first := l.solver()
	if first == 0 {
		l.t.Fatal("no solver is running")
	}
	f := family{born: map[int]uint64{}, namespaces: map[string]bool{}}
	parents := map[int]int{}
	for _, pid := range pids() {
		parents[pid], _ = stat(pid)
	}
	for pid := range parents {
		up := pid
		for up > 1 && up != first {
			up = parents[up]
		}
		if up != first {
			continue
		}
		_, f.born[pid] = stat(pid)
		f.latest = max(f.latest, f.born[pid])
		for _, kind := range namespaceKinds {
			name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
			if own, _ := os.Readlink("/proc/self/ns/" + kind); err == nil && name != own {
				f.namespaces[name] = true
			}
		}
	}
	states, _ := filepath.Glob(filepath.Join(l.root, "tmp/runc/*"))
	for _, state := range states {
		f.containers = append(f.containers, filepath.Base(state))
	}
	return f
}

// stat reads the parent and the start of a process (proc_pid_stat(5)); zeros if it is gone or a zombie.
func stat(pid int) (parent int, born uint64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" {
		return 0, 0
	}
	parent, _ = strconv.Atoi(fields[1])
	born, _ = strconv.ParseUint(fields[19], 10, 64)
	return parent, born
}

// left lists which processes of the family are there, and who still keeps one of its namespaces alive.
func (f family) left() string {
	var out []string
	for _, pid := range pids() {
		_, born := stat(pid)
		// The kernel gives a namespace's number again, to younger processes.
		if born == 0 || born > f.latest {
			continue
		}
		if f.born[pid] == born {
			out = append(out, fmt.Sprintf("process %d %s", pid, commandLine(pid)))
		}
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/ns/*", pid))
		open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range slices.Concat(links, open) {
			if name, err := os.Readlink(link); err == nil && f.namespaces[name] {
				out = append(out, fmt.Sprintf("namespace %s by process %d %s", name, pid, commandLine(pid)))
			}
		}
	}
	for _, line := range mounts(os.Getpid()) {
		if fields := strings.Fields(line); len(fields) > 3 && f.namespaces[fields[3]] {
			out = append(out, "namespace kept by mount "+line)
		}
	}
	return strings.Join(out, "\n")
}

// controlGroups lists those that belong to the family's containers.
func (f family) controlGroups() string {
	var out []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains(f.containers, d.Name()) {
			out = append(out, path)
		}
		return nil
	})
	return strings.Join(out, "\n")
}

// stale lists what containers left in the state of a lab where none runs.
func (l *lab) stale() string {
	var out []string
	for _, pattern := range []string{"tmp/runc/*", "runc-*/executor/?????????????????????????"} {
		found, _ := filepath.Glob(filepath.Join(l.root, pattern))
		out = append(out, found...)
	}
	return strings.Join(out, "\n")
}
