// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"slices"

	"github.com/moby/buildkit/solver/pb"
)

// check tells what is wrong with op, "" if nothing: the rules of BuildKit's llbsolver (opsutils.Validate) and the ranges
// of indexes, which the solver checks only when it gets there.
func check(op *pb.Op) string {
	n := int64(len(op.GetInputs()))
	switch kind(op) {
	case "":
		return "it is of a kind that BuildKit v0.33 does not have"
	case KindExec:
		return checkExec(op.GetExec(), n)
	case KindFile:
		return checkFile(op.GetFile().GetActions(), n)
	case KindMerge:
		return checkMerge(op.GetMerge().GetInputs(), n)
	case KindDiff:
		return checkDiff(op.GetDiff(), n)
	case KindBuild:
		in, ok := op.GetBuild().GetInputs()[pb.LLBDefinitionInput]
		if !ok || in.GetInput() < 0 {
			return "it has no input to find its graph in"
		}
		return index("definition", in.GetInput(), n)
	case KindPassthrough:
		return checkPassthrough(op.GetPassthrough().GetOutputs(), n)
	}
	if n > 0 {
		return fmt.Sprintf("it is a source with %d inputs", n)
	}
	return ""
}

func checkExec(exec *pb.ExecOp, n int64) string {
	if len(exec.GetMeta().GetArgs()) == 0 {
		return "it runs nothing"
	}
	if !slices.ContainsFunc(exec.GetMounts(), isRoot) {
		return "it has no root file system"
	}
	for _, m := range exec.GetMounts() {
		if reason := index("mount "+oneLine(m.GetDest()), m.GetInput(), n); reason != "" {
			return reason
		}
	}
	return ""
}

func checkFile(actions []*pb.FileAction, n int64) string {
	if len(actions) == 0 {
		return "it has no actions"
	}
	all := n + int64(len(actions)) // an action may name another one's result as its input
	for i, a := range actions {
		for _, in := range []int64{a.GetInput(), a.GetSecondaryInput()} {
			if reason := index(fmt.Sprintf("action %d", i), in, all); reason != "" {
				return reason
			}
		}
	}
	if _, ok := fileBase(actions, n); !ok {
		return "its actions depend on each other"
	}
	return ""
}

func checkMerge(layers []*pb.MergeInput, n int64) string {
	if int64(len(layers)) != n {
		return fmt.Sprintf("it merges %d layers of %d inputs", len(layers), n)
	}
	for i, l := range layers {
		if reason := index(fmt.Sprintf("layer %d", i), l.GetInput(), n); reason != "" {
			return reason
		}
	}
	return ""
}

func checkDiff(diff *pb.DiffOp, n int64) string {
	if diff.GetLower() == nil || diff.GetUpper() == nil {
		return "one side of the difference is missing"
	}
	if reason := index("the lower side", diff.GetLower().GetInput(), n); reason != "" {
		return reason
	}
	return index("the upper side", diff.GetUpper().GetInput(), n)
}

func checkPassthrough(results []int64, n int64) string {
	for i, r := range results {
		if r < 0 || r >= n {
			return fmt.Sprintf("result %d is input %d of %d", i, r, n)
		}
	}
	return ""
}

// index allows -1, which is BuildKit's scratch (pb.Empty).
func index(what string, i, n int64) string {
	if i < int64(pb.Empty) || i >= n {
		return fmt.Sprintf("%s is input %d of %d", what, i, n)
	}
	return ""
}
