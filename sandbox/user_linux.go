// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	subid "github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

const (
	// gateEnv is the descriptor that a process whose ids are mapped from outside reads from: a byte when they are.
	gateEnv = "MAB_SANDBOX_GATE"
	// tieEnv is the same descriptor, once it has read that.
	tieEnv = "MAB_SANDBOX_TIE"
	// shortageEnv says why a process has a single id.
	shortageEnv = "MAB_SANDBOX_SHORTAGE"

	subuidFile, subgidFile = "/etc/subuid", "/etc/subgid"

	// leastIDs is how many subordinate ids images are built for: their users are numbers below 65536, and nobody is 65534.
	leastIDs = 65535
)

// Shortage is why a plain user's sandbox knows one id only.
type Shortage struct {
	// Why says what is missing, and Mend is a command or a sentence.
	Why, Mend string
}

// Short tells what a Single sandbox, which this process is in, lacked; false in any other.
func Short() (Shortage, bool) {
	if Own() != Single {
		return Shortage{}, false
	}
	why, mend, _ := strings.Cut(os.Getenv(shortageEnv), "\n")
	return Shortage{why, mend}, true
}

// Error says what is missing.
func (s *Shortage) Error() string { return s.Why }

// startUser starts the program for a plain user: with subordinate ids, else with the one id that the kernel lets everybody map.
func startUser(cfg Config) (*exec.Cmd, error) {
	var short *Shortage
	cmd, err := startRanges(cfg)
	if err == nil || !errors.As(err, &short) {
		return cmd, err
	}
	return startSingle(cfg, short)
}

// startSingle maps the one id that the kernel lets everybody map.
func startSingle(cfg Config, short *Shortage) (*exec.Cmd, error) {
	cmd := cfg.command(Single, shortageEnv+"="+short.Why+"\n"+short.Mend)
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	return cmd, cmd.Start()
}

// idMaps are the arguments of newuidmap and newgidmap after the process: inside, outside, length, and so on.
type idMaps struct{ uids, gids []string }

// startRanges starts the program and has newuidmap and newgidmap, which may, give it its ids. What a program may do is settled
// when it is executed, so the process waits for its ids in Enter and executes itself again.
func startRanges(cfg Config) (*exec.Cmd, error) {
	ids, err := subordinates()
	if err != nil {
		return nil, err
	}
	gate, open, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = gate.Close() }()
	cmd := cfg.command(Ranges, gateEnv+"="+strconv.Itoa(3+len(cfg.Extra)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, gate)
	if err := cmd.Start(); err != nil {
		_ = open.Close()
		return nil, err
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	err = mapWith("newuidmap", append([]string{pid}, ids.uids...))
	if err == nil {
		err = mapWith("newgidmap", append([]string{pid}, ids.gids...))
	}
	if err == nil {
		_, err = open.Write([]byte{'\n'})
	}
	if err != nil {
		_ = open.Close()
		_, _ = cmd.Process.Kill(), cmd.Wait()
		return nil, err
	}
	if cfg.Detach {
		return cmd, open.Close()
	}
	// As long as the parent lives and knows the command, the gate's other end stays open: see tie.
	cmd.ExtraFiles = append(cmd.ExtraFiles, open)
	return cmd, nil
}

func mapWith(program string, args []string) error {
	out, err := exec.Command(program, args...).CombinedOutput() //nolint:noctx // it ends by itself, at once
	if err != nil {
		mend := "install the package uidmap (shadow-utils) again: its programs must belong to root and be setuid"
		if bytes.Contains(out, []byte("pw_gid")) {
			mend = "start mab with the user's own group, not under newgrp or sg"
		}
		return &Shortage{strings.TrimSuffix(fmt.Sprintf("%s: %v: %s", program, err, bytes.TrimSpace(out)), ": "), mend}
	}
	return nil
}

// subordinates finds the subordinate ids of the current user, and how to use them. Without, its error is a *Shortage.
func subordinates() (idMaps, error) {
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			return idMaps{}, &Shortage{"the program " + program + " is missing", "install the package uidmap (Debian, Ubuntu) or shadow-utils"}
		}
	}
	if stuck, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && stuck != 0 {
		return idMaps{}, &Shortage{"this process may gain no privileges (no_new_privs), as newuidmap has to",
			"start mab without no_new_privs (in Kubernetes: allowPrivilegeEscalation: true)"}
	}
	name, uid := accountName(), os.Geteuid()
	uids, err := ranges(subuidFile, name, uid)
	if err != nil {
		return idMaps{}, err
	}
	gids, err := ranges(subgidFile, name, uid)
	if err != nil {
		return idMaps{}, err
	}
	return idMaps{mapArgs(uid, uids), mapArgs(os.Getegid(), gids)}, nil
}

// accountName is the name of the current user; the number for one without.
func accountName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Geteuid())
}

// ranges reads a user's ranges from a file of the form of subuid(5), where a user is a name or a number. Too few for images are
// a *Shortage.
func ranges(path, name string, uid int) ([]subid.SubID, error) {
	number := strconv.Itoa(uid)
	list, err := subid.ParseSubIDFileFilter(path, func(s subid.SubID) bool {
		return s.Count > 0 && (s.Name == number || s.Name == name)
	})
	// A user may stand there by name and by number.
	seen := map[[2]int64]bool{}
	list = slices.DeleteFunc(list, func(s subid.SubID) bool {
		twice := seen[[2]int64{s.SubID, s.Count}]
		seen[[2]int64{s.SubID, s.Count}] = true
		return twice
	})
	var sum int64
	for _, s := range list {
		sum += s.Count
	}
	short := &Shortage{Mend: "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + name}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		short.Why = path + " does not exist"
	case err != nil:
		short.Why = fmt.Sprintf("reading %s: %v", path, err)
	case sum == 0:
		short.Why = fmt.Sprintf("%s has no line for %s", path, name)
	case sum < leastIDs:
		short.Why = fmt.Sprintf("%s gives %s %d ids, of which images use %d", path, name, sum, leastIDs)
	default:
		return list, nil
	}
	return nil, short
}

// mapArgs makes own id 0, and lines up the ranges from 1 on.
func mapArgs(own int, list []subid.SubID) []string {
	out := []string{"0", strconv.Itoa(own), "1"}
	next := int64(1)
	for _, s := range slices.SortedFunc(slices.Values(list), func(a, b subid.SubID) int { return int(a.SubID - b.SubID) }) {
		out = append(out, strconv.FormatInt(next, 10), strconv.FormatInt(s.SubID, 10), strconv.FormatInt(s.Count, 10))
		next += s.Count
	}
	return out
}
