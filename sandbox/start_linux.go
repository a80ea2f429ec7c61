// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// environ marks a process that was started by Start. Its value is the Mode.
const environ = "MAB_SANDBOX"

// Mode is which users and groups a sandbox knows.
type Mode string

// The modes.
const (
	// Plain has no user namespace of its own, because the kernel refused one to root.
	Plain Mode = "plain"
	// Identity knows every id under its own number; root started it.
	Identity Mode = "identity"
	// Ranges knows the user who started it as root, and the user's subordinate ids (subuid(5)) as all others.
	Ranges Mode = "ranges"
	// Single knows the user who started it as root, and nobody else.
	Single Mode = "single"
)

// Config says what Start starts. The zero value starts this program without arguments, tied to its parent.
type Config struct {
	// Path is the program to start. Empty: this program.
	Path string
	// Args are the arguments after the program's name.
	Args []string
	// Env is the whole environment of the process. Nil: that of this one.
	Env []string
	// Dir is the working directory. Empty: that of this process.
	Dir string
	// Stdin, Stdout, Stderr are handed down. Nil: /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Extra files become descriptors 3 and up.
	Extra []*os.File
	// Detach lets the process outlive its parent, in a session of its own. Otherwise it is killed when the thread
	// that called Start ends: lock the goroutine to its thread (runtime.LockOSThread).
	Detach bool
}

// Start starts the program in new user, PID and mount namespaces. For root without a user namespace where the kernel refuses
// one; a plain user becomes root in the namespace, with the subordinate ids if there are any (see Shortage). The caller waits
// for the returned command. The program must call Enter before anything else. A system that forbids it gives a *RefusedError.
func Start(cfg Config) (*exec.Cmd, error) {
	if cfg.Path == "" {
		var err error
		if cfg.Path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("starting in namespaces: %w", err)
		}
	}
	start := startRoot
	if os.Geteuid() != 0 {
		start = startUser
	}
	cmd, err := start(cfg)
	if refusal(err) {
		err = explain(err, look(cfg.Path))
	}
	if err != nil {
		return nil, fmt.Errorf("starting in namespaces: %w", err)
	}
	return cmd, nil
}

func startRoot(cfg Config) (*exec.Cmd, error) {
	cmd := cfg.command(Identity)
	ids, err := mapIdentity(cmd.SysProcAttr)
	if err == nil && ids == 1 {
		// Root of a namespace that a plain user made.
		short := Shortage{"the user namespace that mab was started in knows one user", "start mab outside of it, or in one with more ids: unshare --map-auto"}
		return startSingle(cfg, &short)
	}
	if err == nil {
		err = cmd.Start()
	}
	if refusal(err) {
		cmd = cfg.command(Plain)
		err = cmd.Start()
	}
	return cmd, err
}

// command is the process before its ids are settled.
func (cfg Config) command(mode Mode, more ...string) *exec.Cmd {
	cmd := exec.Command(cfg.Path, cfg.Args...) //nolint:noctx // it may outlive every context of this process
	env := cfg.Env
	if env == nil {
		env = os.Environ()
	}
	cmd.Env = append(append(slices.Clone(env), environ+"="+string(mode)), more...)
	cmd.ExtraFiles = slices.Clone(cfg.Extra)
	// A nil *os.File in an io.Reader is not a nil interface.
	cmd.Dir = cfg.Dir
	if cfg.Stdin != nil {
		cmd.Stdin = cfg.Stdin
	}
	if cfg.Stdout != nil {
		cmd.Stdout = cfg.Stdout
	}
	if cfg.Stderr != nil {
		cmd.Stderr = cfg.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if mode != Plain {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	}
	if cfg.Detach {
		cmd.SysProcAttr.Setsid = true
	} else {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	return cmd
}

// mapIdentity maps every user and group that this process knows onto itself, and returns how many users those are.
func mapIdentity(attr *syscall.SysProcAttr) (users int, err error) {
	uids, err := readMap("/proc/self/uid_map")
	if err != nil {
		return 0, err
	}
	gids, err := readMap("/proc/self/gid_map")
	if err != nil {
		return 0, err
	}
	attr.UidMappings, attr.GidMappings = uids, gids
	groups, err := os.ReadFile("/proc/self/setgroups")
	attr.GidMappingsEnableSetgroups = err != nil || strings.TrimSpace(string(groups)) != "deny"
	for _, m := range uids {
		users += m.Size
	}
	return users, nil
}

func readMap(path string) ([]syscall.SysProcIDMap, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoMap, err)
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
