// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"time"

	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// The judges of this machine.
var (
	JudgeKernel  = judgeKernel
	JudgeCgroups = judgeCgroups
	JudgeMemory  = judgeMemory
	JudgeDisk    = judgeDisk
	JudgeState   = judgeState
	JudgeRunc    = judgeRunc
	JudgeSolver  = judgeSolver
	JudgeInside  = judgeInside
	CountIDs     = countIDs
	LookAtPlace  = lookAtPlace
)

// JudgeBuild is judgeBuild.
func JudgeBuild(started, built time.Duration, err error) Check {
	return judgeBuild(tried{started, built, err}, solver.State{Root: "/state"})
}

// Place is place.
type Place = place

// NewPlace is a directory that is there and this user's.
func NewPlace(change func(*Place)) Place {
	p := place{
		state: solver.State{Root: "/state", Runtime: "/run"}, there: true, dir: "/state", temp: "/state/.temp", owner: 7, user: 7,
		free: 20e9, total: 100e9, files: 5e6, allFiles: 9e6,
	}
	if change != nil {
		change(&p)
	}
	return p
}

// Gone makes a place one that is not there, below dir.
func Gone(dir string) func(*Place) {
	return func(p *Place) { p.there, p.dir, p.temp = false, dir, dir+"/.temp" }
}

// Unwritable makes a place one that belongs to another user, and to this one if it is root.
func Unwritable(user int) func(*Place) {
	return func(p *Place) { p.owner, p.user, p.temp, p.err = 8, user, "", errors.New("denied") }
}

// Noexec makes a place one where nothing can be executed.
func Noexec(p *Place) { p.noexec = true }

// Room changes how much is free.
func Room(free, total, files, allFiles uint64) func(*Place) {
	return func(p *Place) { p.free, p.total, p.files, p.allFiles = free, total, files, allFiles }
}

// Directories returns what a place is of: the directory that exists, and whether it is the state's; then the temporary one.
func (p place) Directories() (dir string, there bool, temp string, err error) {
	return p.dir, p.there, p.temp, p.err
}

// InsideFacts is inside.
type InsideFacts = inside

// InsideRefused are the facts of a system without namespaces.
func InsideRefused(text, hint string) InsideFacts { return inside{Refused: &problem{text, hint}} }

// InsideIn are those of a sandbox of a mode.
func InsideIn(mode sandbox.Mode, ids int64, change func(*InsideFacts)) InsideFacts {
	out := inside{Mode: mode, IDs: ids, Layers: "overlayfs"}
	if change != nil {
		change(&out)
	}
	return out
}

// SharedInstance and LayersFailure fill in what went wrong.
func SharedInstance(in *InsideFacts) { in.Shared = &problem{"no private one", "modprobe"} }

// LayersFailure is a file system on which nothing works.
func LayersFailure(in *InsideFacts) { in.Layers, in.LayersFailed = "", &problem{"read-only", ""} }
