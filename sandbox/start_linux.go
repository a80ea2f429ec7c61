// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// environ marks a process that was started by Start. Its value tells whether the process got a user namespace.
const environ = "MAB_SANDBOX"

// Config says what Start starts. The zero value starts this program without arguments, tied to its parent.
type Config struct {
	// Path is the program to start. Empty: this program.
	Path string
	// Args are the arguments after the program's name.
	Args []string
	// Env is the whole environment of the process. Nil: that of this one.
	Env []string
	// Stdin, Stdout, Stderr are handed down. Nil: /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Extra files become descriptors 3 and up.
	Extra []*os.File
	// Detach lets the process outlive its parent, in a session of its own. Otherwise it is killed when the thread
	// that called Start ends: lock the goroutine to its thread (runtime.LockOSThread).
	Detach bool
}

// refusals are how a kernel without user namespaces, or one that allows no more of them, answers (clone(2)). The first is that
// of /proc/self/uid_map.
var refusals = []syscall.Errno{unix.ENOENT, unix.EPERM, unix.ENOSPC, unix.EINVAL, unix.EUSERS}

// Start starts the program in new user, PID and mount namespaces, or without a user namespace where the kernel refuses one.
// The caller waits for the returned command. The program must call Enter before anything else.
func Start(cfg Config) (*exec.Cmd, error) {
	cmd, err := start(cfg, true)
	if slices.ContainsFunc(refusals, func(r syscall.Errno) bool { return errors.Is(err, r) }) {
		cmd, err = start(cfg, false)
	}
	if err != nil {
		return nil, fmt.Errorf("starting in namespaces: %w", err)
	}
	return cmd, nil
}

func start(cfg Config, user bool) (*exec.Cmd, error) {
	path := cfg.Path
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(path, cfg.Args...) //nolint:noctx // it may outlive every context of this process
	env := cfg.Env
	if env == nil {
		env = os.Environ()
	}
	cmd.Env = append(slices.Clone(env), environ+"="+mode(user))
	cmd.ExtraFiles = cfg.Extra
	// A nil *os.File in an io.Reader is not a nil interface.
	if cfg.Stdin != nil {
		cmd.Stdin = cfg.Stdin
	}
	if cfg.Stdout != nil {
		cmd.Stdout = cfg.Stdout
	}
	if cfg.Stderr != nil {
		cmd.Stderr = cfg.Stderr
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if cfg.Detach {
		attr.Setsid = true
	} else {
		attr.Pdeathsig = syscall.SIGKILL
	}
	if user {
		if err := mapIdentity(attr); err != nil {
			return nil, err
		}
	}
	cmd.SysProcAttr = attr
	return cmd, cmd.Start()
}

func mode(user bool) string {
	if user {
		return "user"
	}
	return "plain"
}

// mapIdentity maps every id that this process knows onto itself.
func mapIdentity(attr *syscall.SysProcAttr) error {
	uids, err := readMap("/proc/self/uid_map")
	if err != nil {
		return err
	}
	gids, err := readMap("/proc/self/gid_map")
	if err != nil {
		return err
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings, attr.GidMappings = uids, gids
	attr.GidMappingsEnableSetgroups = true
	return nil
}

func readMap(path string) ([]syscall.SysProcIDMap, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return identity(string(text))
}

// identity turns an id map in the kernel's form (lines of "inside outside length", see user_namespaces(7)) into the map
// that gives a child namespace the same ids.
//
// Id 0 gets a line of its own. A map of one line for all ids is how runc and containerd recognise the initial user
// namespace (https://github.com/moby/sys/blob/userns/v0.1.0/userns/userns_linux.go), and there they would try what only
// the host's root may: device control groups, trusted.* attributes on overlayfs, device nodes.
func identity(text string) ([]syscall.SysProcIDMap, error) {
	var out []syscall.SysProcIDMap
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("reading id map line %q: want three numbers", line)
		}
		first, err := strconv.Atoi(fields[0])
		if err != nil {
			return nil, fmt.Errorf("reading id map: %w", err)
		}
		size, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, fmt.Errorf("reading id map: %w", err)
		}
		if first == 0 && size > 1 {
			out = append(out, syscall.SysProcIDMap{Size: 1})
			first, size = 1, size-1
		}
		out = append(out, syscall.SysProcIDMap{ContainerID: first, HostID: first, Size: size})
	}
	return out, nil
}
