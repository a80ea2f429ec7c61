// SPDX-License-Identifier: Apache-2.0

package runc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// names are what BuildKit calls its runc, in its order (defaultCommandCandidates in executor/runcexecutor).
var names = []string{"buildkit-runc", "runc"}

// checkWait is how long a program may take to say its version, on a machine under load.
const checkWait = 20 * time.Second

// sbin is where distributions put runc, which the PATH of a plain user often leaves out.
const sbin = ":/usr/local/sbin:/usr/sbin:/sbin"

// lookUp returns the absolute path of the first program with one of the names.
func lookUp(path string) (string, error) {
	if path == "" {
		path = os.Getenv("PATH") + sbin
	}
	for _, name := range names {
		for _, dir := range filepath.SplitList(path) {
			file := filepath.Join(dir, name)
			info, err := os.Stat(file)
			if err != nil || !info.Mode().IsRegular() || unix.Access(file, unix.X_OK) != nil {
				continue
			}
			return filepath.Abs(file)
		}
	}
	return "", &unfitError{text: fmt.Sprintf("none in PATH (%s)", path)}
}

// check runs a program to see whether it can run BuildKit's steps. It needs "run --keep" (runc 1.1, crun 1.15), and seccomp,
// since BuildKit writes a profile for every step.
func check(ctx context.Context, path string) (Runc, error) {
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	var said, options string
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { said, err = ask(ctx, path, "--version"); return err })
	group.Go(func() (err error) { options, err = ask(ctx, path, "run", "--help"); return err })
	if err := group.Wait(); err != nil {
		return Runc{}, err
	}
	out, ok := parseVersion(said)
	if !ok {
		return Runc{}, &unfitError{text: fmt.Sprintf("%q is no runc: its --version says %.80q", path, said)}
	}
	out.Path = path
	what := out.Version
	if !strings.Contains(what, " ") {
		what = "runc " + what
	}
	switch {
	case !slices.Contains(strings.Fields(options), "--keep"):
		return Runc{}, &unfitError{text: fmt.Sprintf("%q is %s, which has no \"run --keep\" (runc has it from 1.1, crun from 1.15)", path, what)}
	case out.Seccomp == "":
		return Runc{}, &unfitError{text: fmt.Sprintf("%q is %s without seccomp, which every step needs", path, what)}
	}
	return out, nil
}

// ask runs a program and returns what it prints.
func ask(ctx context.Context, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		text := fmt.Sprintf("running %q", strings.Join(append([]string{path}, args...), " "))
		if said := strings.TrimSpace(stderr.String()); said != "" {
			text += fmt.Sprintf(" (it says %.200q)", said)
		}
		return "", &unfitError{text: text, err: err}
	}
	return string(out), nil
}

var (
	// runc, crun and youki begin alike: "runc version 1.1.5+ds1".
	versionLine = regexp.MustCompile(`^(\S+) version (\S+)`)
	// runc and youki: "libseccomp: 2.5.4".
	seccompLine = regexp.MustCompile(`(?m)^libseccomp: (\S+)`)
	// crun: "+SYSTEMD +SELINUX +SECCOMP", or -SECCOMP.
	seccompWord = regexp.MustCompile(`(?m)(^| )\+SECCOMP( |$)`)
)

// parseVersion reads what --version prints.
func parseVersion(said string) (Runc, bool) {
	first := versionLine.FindStringSubmatch(said)
	if first == nil {
		return Runc{}, false
	}
	out := Runc{Version: first[2]}
	if first[1] != "runc" {
		out.Version = first[1] + " " + first[2]
	}
	if line := seccompLine.FindStringSubmatch(said); line != nil {
		out.Seccomp = line[1]
	} else if seccompWord.MatchString(said) {
		out.Seccomp = "yes"
	}
	return out, true
}

// unfitError is a machine without a runc that can run BuildKit's steps.
type unfitError struct {
	text string
	err  error
}

func (e *unfitError) Error() string {
	if e.err != nil {
		return fmt.Sprintf("finding runc: %s: %v", e.text, e.err)
	}
	return "finding runc: " + e.text
}

// Unwrap gives the cause.
func (e *unfitError) Unwrap() error { return e.err }

// Hint says where a fit one is.
func (*unfitError) Hint() string {
	return "install runc 1.1 or later (Debian: apt-get install runc), or use a released mab, which carries one"
}
