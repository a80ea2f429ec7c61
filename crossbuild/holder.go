// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// What a step's file system has of a directory, where that is not the place of the image that it comes from.
const (
	unknown = -1 // something that was put together, or of which nothing is known
	nothing = -2 // there is no such directory
)

// holders finds for each step the image that dir of its result comes from, by its place in the list. A program that runs is taken to leave
// the directory as it is: whether that is true is for who relies on it to find out.
func holders(list []vertex, dir string) []int {
	out := make([]int, len(list))
	at := func(i int, in int64) int {
		if in < 0 {
			return nothing
		}
		from := list[i].inputs[in]
		if from.output != mainOutput(list[from.from].op) {
			return unknown
		}
		return out[from.from]
	}
	for i := range list {
		op := list[i].op
		out[i] = unknown
		switch list[i].Kind {
		case KindImage:
			out[i] = i
		case KindExec:
			if in := base(op); in >= 0 {
				out[i] = at(i, in)
			}
		case KindFile:
			out[i] = heldByFiles(op, dir, func(in int64) int { return at(i, in) })
		case KindMerge:
			out[i] = nothing
			for in := int64(len(op.GetInputs())) - 1; in >= 0 && out[i] == nothing; in-- {
				out[i] = at(i, in)
			}
		}
	}
	return out
}

// mainOutput is the result of an op that is the file system which it works in; -1 if it is none.
func mainOutput(op *pb.Op) int64 {
	if kind(op) != KindExec {
		return 0
	}
	mounts := op.GetExec().GetMounts()
	return mounts[slices.IndexFunc(mounts, isRoot)].GetOutput()
}

// heldByFiles follows the actions of a step that changes files, which must be one after the other.
func heldByFiles(op *pb.Op, dir string, held func(in int64) int) int {
	actions, n := op.GetFile().GetActions(), int64(len(op.GetInputs()))
	first := actions[0].GetInput()
	if first >= n {
		return unknown
	}
	now := held(first)
	for k, a := range actions {
		last := k == len(actions)-1
		if k > 0 && a.GetInput() != n+int64(k)-1 || last != (a.GetOutput() == 0) {
			return unknown
		}
		switch {
		case !touches(a, dir):
		case moves(a.GetCopy(), dir) && a.GetSecondaryInput() >= 0 && a.GetSecondaryInput() < n:
			now = held(a.GetSecondaryInput())
		default:
			return unknown
		}
	}
	return now
}

// touches reports whether an action may change what is in dir.
func touches(a *pb.FileAction, dir string) bool {
	switch a := a.GetAction().(type) {
	case *pb.FileAction_Mkdir:
		return false // What is there stays.
	case *pb.FileAction_Mkfile:
		return nested(a.Mkfile.GetPath(), dir)
	case *pb.FileAction_Symlink:
		return nested(a.Symlink.GetNewpath(), dir)
	case *pb.FileAction_Rm:
		return a.Rm.GetAllowWildcard() && hasWildcard(a.Rm.GetPath()) || nested(a.Rm.GetPath(), dir)
	case *pb.FileAction_Copy:
		return nested(a.Copy.GetDest(), dir)
	}
	return true
}

// moves reports whether a copy puts the whole of dir where it was.
func moves(c *pb.FileActionCopy, dir string) bool {
	return c.GetDirCopyContents() && path.Join("/", c.GetSrc()) == dir && path.Join("/", c.GetDest()) == dir &&
		len(c.GetIncludePatterns())+len(c.GetExcludePatterns()) == 0
}

// nested reports whether one of two paths is in the other.
func nested(a, b string) bool {
	a, b = strings.TrimSuffix(path.Join("/", a), "/")+"/", strings.TrimSuffix(path.Join("/", b), "/")+"/"
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}
