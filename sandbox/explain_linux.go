// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// RefusedError is a system that does not let this user have namespaces.
type RefusedError struct {
	// Cause is what forbids them, in words.
	Cause string
	// Err is the kernel's answer.
	Err  error
	mend string
}

// Error says what forbids it.
func (e *RefusedError) Error() string { return fmt.Sprintf("%s: %v", e.Cause, e.Err) }

// Unwrap returns the kernel's answer.
func (e *RefusedError) Unwrap() error { return e.Err }

// Hint is the mend, to be copied.
func (e *RefusedError) Hint() string { return e.mend }

// refusals are how a kernel without user namespaces, or one that allows no more of them, answers (clone(2)).
var refusals = []error{errNoMap, unix.EPERM, unix.ENOSPC, unix.EINVAL, unix.EUSERS}

// errNoMap is a kernel that knows no id maps.
var errNoMap = errors.New("no /proc/self/uid_map")

func refusal(err error) bool {
	return slices.ContainsFunc(refusals, func(r error) bool { return errors.Is(err, r) })
}

// scene is what the cause of a refusal is known by.
type scene struct {
	// program is the path that a profile would be for.
	program string
	// container is the kind of container that this process is in: docker, podman, kubernetes, other; empty outside.
	container string
	// limit, clone and apparmor are the values of the three switches below; empty where there is none.
	limit, clone, apparmor string
	// full is the limit of another kind of namespace that is 0, as user.max_pid_namespaces; empty if none is.
	full string
}

// The switches: of the kernel (namespaces(7)), of Debian's and Arch's kernels, and of Ubuntu's (since 23.10).
const (
	limitSwitch    = "user.max_user_namespaces"
	cloneSwitch    = "kernel.unprivileged_userns_clone"
	apparmorSwitch = "kernel.apparmor_restrict_unprivileged_userns"
)

func look(program string) scene {
	full := ""
	for _, name := range []string{"user.max_pid_namespaces", "user.max_mnt_namespaces"} {
		if sysctl(name) == "0" {
			full = name
		}
	}
	return scene{
		full: full, program: program, container: container(os.Getenv, exists),
		limit: sysctl(limitSwitch), clone: sysctl(cloneSwitch), apparmor: sysctl(apparmorSwitch),
	}
}

func sysctl(name string) string {
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// container tells by the marks that the engines leave.
func container(env func(string) string, exists func(string) bool) string {
	switch {
	case env("KUBERNETES_SERVICE_HOST") != "":
		return "kubernetes"
	case exists("/run/.containerenv"):
		return "podman"
	case exists("/.dockerenv"):
		return "docker"
	case env("container") != "":
		return "other"
	}
	return ""
}

// containerMends let a container make namespaces of its own and mount a /proc in them.
var containerMends = map[string]string{
	"docker":     "start the container with: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined",
	"podman":     "start the container with: podman run --security-opt seccomp=unconfined --security-opt unmask=ALL",
	"kubernetes": "give the container securityContext: {seccompProfile: {type: Unconfined}, appArmorProfile: {type: Unconfined}, procMount: Unmasked}",
	"other":      "start the container without its seccomp and AppArmor profiles, and with /proc unmasked",
}

// moreThan is a limit that is higher than the one that was reached.
func moreThan(limit string) int64 {
	const usual = 15000                     // about what the kernel gives a machine of 4 GB
	n, _ := strconv.ParseInt(limit, 10, 64) // What is no number is no limit.
	return max(usual, min(2*n, math.MaxInt32))
}

// explain finds what stands behind the kernel's refusal.
func explain(err error, s scene) *RefusedError {
	profile := `printf 'abi <abi/4.0>,\ninclude <tunables/global>\nprofile mab %s flags=(unconfined) {\n  userns,\n}\n' | sudo tee /etc/apparmor.d/mab && sudo apparmor_parser -r /etc/apparmor.d/mab`
	used := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS)
	switch {
	case used && s.full != "":
		return &RefusedError{"the system allows no more namespaces (" + s.full + " is 0)", err, "sudo sysctl -w " + s.full + "=15000"}
	case used, s.limit == "0":
		return &RefusedError{"the system allows no more user namespaces (" + limitSwitch + " is " + s.limit + ")", err,
			fmt.Sprintf("sudo sysctl -w %s=%d", limitSwitch, moreThan(s.limit))}
	case s.clone == "0":
		return &RefusedError{"the system allows user namespaces to root alone (" + cloneSwitch + " is 0)", err,
			"sudo sysctl -w " + cloneSwitch + "=1"}
	case s.container != "":
		return &RefusedError{"this container (" + s.container + ") may not make namespaces", err, containerMends[s.container]}
	case s.apparmor == "1":
		return &RefusedError{"AppArmor keeps user namespaces from programs without a profile (" + apparmorSwitch + " is 1)", err,
			fmt.Sprintf(profile, s.program)}
	case errors.Is(err, unix.EINVAL), errors.Is(err, errNoMap):
		return &RefusedError{"this kernel has no user namespaces (CONFIG_USER_NS)", err, "run mab as root, or on another kernel"}
	}
	return &RefusedError{"the system refuses namespaces", err, "run mab as root, or ask who looks after this machine for user namespaces"}
}
