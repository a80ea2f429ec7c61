// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/mab-build/mab/runc"
	"github.com/mab-build/mab/solver"
)

// kernels are the versions of Linux from which on something works, newest first, with what does not before. Sources:
// https://git.kernel.org/torvalds/c/21ca59b365c0 (binfmt_misc), https://git.kernel.org/torvalds/c/459c7c565ac3 (overlayfs),
// pidfd_open(2).
var kernels = []struct {
	major, minor int
	then         string
}{
	{6, 7, "emulators are used only if they are registered on the host, as private ones need Linux 6.7"},
	{5, 11, "every layer is a full copy or fuse-overlayfs's, as overlayfs in a user namespace needs Linux 5.11"},
	{5, 3, "mab serve --stop does not work, as it needs Linux 5.3"},
}

func judgeKernel(release string) Check {
	out := Check{Name: "kernel", Status: OK, Found: "Linux " + release}
	major, minor, ok := parseRelease(release)
	if !ok {
		return out
	}
	var then []string
	for _, k := range kernels {
		if major < k.major || major == k.major && minor < k.minor {
			then = append(then, k.then)
		}
	}
	if len(then) > 0 {
		out.Status, out.Then = Limited, strings.Join(then, "; ")
		out.Mend = fmt.Sprintf("use Linux %d.%d or newer", kernels[0].major, kernels[0].minor)
	}
	return out
}

// parseRelease reads "6.18.44-cloud" and "6.8-rc1".
func parseRelease(release string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(release, ".")
	second := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		second = rest[:i]
	}
	major, errMajor := strconv.Atoi(first)
	minor, errMinor := strconv.Atoi(second)
	return major, minor, errMajor == nil && errMinor == nil
}

// judgeCgroups reads the lines of proc_pid_mounts(5).
func judgeCgroups(mounts string) Check {
	kinds := map[string]bool{}
	for line := range strings.Lines(mounts) {
		if fields := strings.Fields(line); len(fields) > 2 {
			kinds[fields[2]] = true
		}
	}
	version := "none"
	switch {
	case kinds["cgroup"] && kinds["cgroup2"]:
		version = "v1 and v2"
	case kinds["cgroup"]:
		version = "v1"
	case kinds["cgroup2"]:
		version = "v2"
	}
	// Said so that nobody takes it for a limit: mab makes no groups anywhere.
	return Check{Name: "cgroups", Status: OK, Found: version + "; mab needs and makes none, so memory and CPU of steps are not limited"}
}

// A build's steps run compilers, of which the larger want a gigabyte each.
const (
	memoryEnough = 1 << 30
	memoryLeast  = 128 << 20
)

// judgeMemory reads proc_meminfo(5).
func judgeMemory(text string) Check {
	out := Check{Name: "memory", Status: OK}
	total, free := meminfo(text, "MemTotal"), meminfo(text, "MemAvailable")
	if total == 0 {
		out.Found = "unknown, as there is no /proc/meminfo"
		return out
	}
	out.Found = fmt.Sprintf("%s available of %s", units.BytesSize(float64(free)), units.BytesSize(float64(total)))
	const mend = "end other programs, or build on a machine with more"
	switch {
	case free < memoryLeast:
		out.Status, out.Mend = Missing, mend
	case free < memoryEnough:
		out.Status, out.Then, out.Mend = Limited, "the kernel may kill compilers in steps (exit code 137)", mend
	}
	return out
}

// meminfo returns a value in bytes, 0 if it is not there.
func meminfo(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if key, value, _ := strings.Cut(line, ":"); key == name {
			n, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // The kernel writes numbers.
			return n << 10
		}
	}
	return 0
}

// What is free where the state is: below the first builds are cramped, below the second most fail.
const (
	diskEnough, diskLeast   = 10e9, 1e9
	filesEnough, filesLeast = 100_000, 10_000
)

func judgeDisk(p place) Check {
	const mend = "make room there, or put the state on a larger disk: --root DIR, or export MAB_ROOT=DIR"
	out := Check{Name: "disk", Status: OK}
	if p.total == 0 {
		out.Status, out.Found, out.Then, out.Mend = Limited, "unknown at "+p.dir, "nobody knows whether a build fits", mend
		return out
	}
	out.Found = fmt.Sprintf("%s free of %s at %s", units.HumanSize(float64(p.free)), units.HumanSize(float64(p.total)), p.dir)
	few := func(least uint64) bool { return p.allFiles > 0 && p.files < least }
	if few(filesEnough) {
		out.Found += fmt.Sprintf(", %d inodes free", p.files)
	}
	switch {
	case p.free < diskLeast || few(filesLeast):
		out.Status, out.Mend = Missing, mend
	case p.free < diskEnough || few(filesEnough):
		out.Status, out.Mend = Limited, mend
		out.Then = "the cache is kept small, and large builds fail for want of room"
	}
	return out
}

func judgeState(p place) Check {
	const elsewhere = "choose another directory: --root DIR, or export MAB_ROOT=DIR"
	out := Check{Name: "state", Status: OK, Found: p.state.Root}
	if !p.there {
		out.Found += ", not there yet"
	}
	switch {
	case p.err != nil && p.there && p.owner != p.user && p.user != 0:
		out.Status, out.Mend = Missing, elsewhere
		out.Found += fmt.Sprintf(" belongs to user %d, and this is user %d: %v", p.owner, p.user, p.err)
	case p.err != nil:
		out.Status, out.Mend = Missing, elsewhere
		out.Found += fmt.Sprintf(": %v", p.err)
	case p.noexec:
		out.Status, out.Mend = Limited, elsewhere
		out.Found += ", on a file system that is mounted noexec"
		out.Then = "a runc that mab carries cannot be used, nor can steps where layers are copies"
	}
	return out
}

func judgeRunc(found runc.Runc, err error) Check {
	if err != nil {
		return failed("runc", err)
	}
	where := found.Path
	if found.Carried {
		where = "in this program"
	}
	name := found.Version
	if !strings.Contains(name, " ") {
		name = "runc " + name
	}
	return Check{Name: "runc", Status: OK, Found: fmt.Sprintf("%s, seccomp %s, %s", name, found.Seccomp, where)}
}

func judgeSolver(seen solver.Seen, err error, state solver.State) Check {
	out := Check{Name: "solver", Status: OK}
	switch {
	case err != nil && seen.PID != 0:
		out.Status, out.Then, out.Mend = Limited, "builds wait for it", fmt.Sprintf("kill -9 %d (its cache stays)", seen.PID)
		out.Found = fmt.Sprintf("process %d listens on %s, but does not answer: %v", seen.PID, state.Socket(), err)
	case err != nil:
		out.Status, out.Then, out.Found = Limited, "builds cannot reach a solver", err.Error()
		out.Mend = "see who owns it: ls -l " + state.Socket()
	case seen.PID != 0:
		out.Found = fmt.Sprintf("process %d, BuildKit %s, on %s", seen.PID, seen.Version, state.Socket())
	case seen.Locked:
		out.Status, out.Then = Limited, "builds with these directories fail"
		out.Found = fmt.Sprintf("one is using %s, but listens elsewhere than on %s", state.Root, state.Socket())
		out.Mend = "use the --runtime that it was started with, or another --root"
	default:
		out.Found = "none runs; a build starts one"
	}
	return out
}

func judgeBuild(t tried, state solver.State) Check {
	if t.err == nil {
		found := "FROM scratch, COPY and RUN in " + tenths(t.built)
		if t.started > 0 {
			found += ", after the solver's start in " + tenths(t.started)
		}
		return Check{Name: buildName, Status: OK, Found: found}
	}
	out := failed(buildName, t.err)
	if errors.Is(t.err, context.DeadlineExceeded) {
		out.Found = fmt.Sprintf("FROM scratch, COPY and RUN were not done within %s: %v", buildWait, t.err)
	}
	if out.Mend == "" {
		out.Mend = "mend what is missing or limited above; if nothing is, see the solver's log: " + state.Log()
	}
	return out
}

func tenths(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
