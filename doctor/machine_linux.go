// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/runc"
	"github.com/mab-build/mab/solver"
)

// machine is this machine as it was before anything was started on it.
type machine struct {
	place place
	// seen is the solver that runs.
	seen    solver.Seen
	seenErr error
}

// place is where the solver's state is, or would be.
type place struct {
	state solver.State
	// there tells that the root directory exists, and dir is that or the nearest directory above it.
	there bool
	dir   string
	// temp is a directory of ours in dir; if it could not be made, err tells why.
	temp string
	err  error
	// owner is dir's, and user this process's.
	owner, user int
	noexec      bool
	// free and total are bytes; files and allFiles are inodes, 0 where the file system counts none.
	free, total, files, allFiles uint64
	// newest is the time of the newest file in the state.
	newest time.Time
}

func lookAtMachine(ctx context.Context, state solver.State) machine {
	place, ok := within(ctx, briefWait, func(context.Context) place { return lookAtPlace(state) })
	if !ok {
		place.state, place.dir = state, state.Root
		place.err = errors.New("the file system gives " + noAnswer(briefWait))
		return machine{place: place}
	}
	out := machine{place: place}
	ctx, cancel := context.WithTimeout(ctx, briefWait)
	defer cancel()
	out.seen, out.seenErr = solver.Look(ctx, state)
	return out
}

func lookAtPlace(state solver.State) place {
	p := place{state: state, dir: state.Root, user: os.Geteuid()}
	for {
		info, err := os.Stat(p.dir)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "opening", Path: p.dir, Err: unix.ENOTDIR}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || p.dir == filepath.Dir(p.dir) {
			p.err = err
			return p
		}
		p.dir = filepath.Dir(p.dir)
	}
	p.there = p.dir == state.Root
	var stat unix.Stat_t
	if unix.Stat(p.dir, &stat) == nil {
		p.owner = int(stat.Uid)
	}
	var system unix.Statfs_t
	if unix.Statfs(p.dir, &system) == nil {
		size := uint64(system.Bsize)
		p.free, p.total = system.Bavail*size, system.Blocks*size
		p.files, p.allFiles = system.Ffree, system.Files
		p.noexec = system.Flags&unix.ST_NOEXEC != 0
	}
	if p.there {
		p.newest = newest(p.dir)
	}
	p.temp, p.err = os.MkdirTemp(p.dir, ".mab-doctor-")
	return p
}

func newest(dir string) time.Time {
	entries, _ := os.ReadDir(dir)
	var out time.Time
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().After(out) {
			out = info.ModTime()
		}
	}
	return out
}

// close removes what was made.
func (m machine) close() {
	if m.place.temp != "" {
		_ = os.RemoveAll(m.place.temp) // What cannot be removed was told before: the disk is gone, or the rights are.
	}
}

func (m machine) newest() time.Time { return m.place.newest }

// parts look at the machine itself.
func (m machine) parts() []part {
	return []part{
		{"kernel", briefWait, func(context.Context) []Check {
			mounts, _ := os.ReadFile("/proc/self/mounts") // Without it there are no control groups to be found.
			memory, _ := os.ReadFile("/proc/meminfo")
			return []Check{judgeKernel(release()), judgeCgroups(string(mounts)), judgeMemory(string(memory))}
		}},
		known(judgeDisk(m.place), judgeState(m.place)),
		{"runc", insideWait, func(ctx context.Context) []Check {
			found, err := runc.Find(ctx, runc.Config{Dir: filepath.Join(m.place.temp, "runc")})
			line := judgeRunc(found, err)
			if m.place.temp != "" {
				line.Found = strings.ReplaceAll(line.Found, m.place.temp, m.place.dir)
			}
			return []Check{line}
		}},
		{"namespaces", insideWait, func(ctx context.Context) []Check {
			return judgeInside(lookInside(ctx, m.place.state, m.place.temp), m.place)
		}},
		known(judgeSolver(m.seen, m.seenErr, m.place.state)),
	}
}

func release() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// idle is how long a solver that was started for the examination waits for a build: no longer than the user reads.
const idle = time.Minute

// tried is a build that was tried.
type tried struct {
	// started is how long the start of a solver took; 0 if one was there.
	started, built time.Duration
	err            error
}

// build builds, with the solver of the state, which is started if need be.
func (m machine) build(config solver.Config) part {
	return part{buildName, buildWait, func(ctx context.Context) []Check {
		began := time.Now()
		client, _, err := solver.Attach(ctx, solver.AttachConfig{State: m.place.state, Config: config, Idle: idle})
		if err != nil {
			return []Check{judgeBuild(tried{err: err}, m.place.state)}
		}
		var out tried
		if m.seen.PID == 0 {
			out.started = time.Since(began)
		}
		began = time.Now()
		out.err = errors.Join(client.Try(ctx), client.Close())
		out.built = time.Since(began)
		return []Check{judgeBuild(out, m.place.state)}
	}}
}
