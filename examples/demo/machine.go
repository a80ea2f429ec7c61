// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// machine is a platform, and what runs a program of it on a machine of another.
type machine struct {
	platform string
	qemu     string
	hello    string // what examples/hello says there
}

var machines = []machine{
	{"linux/amd64", "qemu-x86_64-static", "hello from linux/amd64 (64 bit, little-endian)"},
	{"linux/arm64", "qemu-aarch64-static", "hello from linux/arm64 (64 bit, little-endian)"},
	{"linux/arm/v7", "qemu-arm-static", "hello from linux/arm/v7 (32 bit, little-endian)"},
	{"linux/riscv64", "qemu-riscv64-static", "hello from linux/riscv64 (64 bit, little-endian)"},
	{"linux/s390x", "qemu-s390x-static", "hello from linux/s390x (64 bit, big-endian)"},
	{"linux/ppc64le", "qemu-ppc64le-static", "hello from linux/ppc64le (64 bit, little-endian)"},
}

func platforms() []string {
	list := make([]string, len(machines))
	for i, m := range machines {
		list[i] = m.platform
	}
	return list
}

// native reports whether m is what this program was compiled for.
func (m machine) native() bool { return m.platform == "linux/"+runtime.GOARCH }

// missingError lists Debian packages that only root can install.
type missingError struct{ packages []string }

func (e *missingError) Error() string {
	return fmt.Sprintf("looking for what is needed: not installed: %s", strings.Join(e.packages, ", "))
}

// Hint is the command that installs them.
func (e *missingError) Hint() string {
	return "run as root: apt-get install --no-install-recommends " + strings.Join(e.packages, " ")
}

// install installs what is missing, as root, and says what.
func install(ctx context.Context) error {
	packages := missing()
	if len(packages) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return &missingError{packages}
	}
	say("installing Debian packages that are missing: %s", strings.Join(packages, " "))
	for _, args := range [][]string{
		{"-q", "update"},
		append([]string{"-q", "install", "-y", "--no-install-recommends"}, packages...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running apt-get %s: %w\n%s", args[1], err, out)
		}
	}
	if packages := missing(); len(packages) > 0 {
		return &missingError{packages}
	}
	return nil
}

func missing() []string {
	var packages []string
	need := func(program, pkg string) {
		if !installed(program) && !slices.Contains(packages, pkg) {
			packages = append(packages, pkg)
		}
	}
	need("runc", "runc")
	for _, m := range machines {
		if !m.native() {
			need(m.qemu, "qemu-user-static")
		}
	}
	return packages
}

// installed looks in the directories of system programs too, which are not in every user's PATH.
func installed(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return true
		}
	}
	return false
}
