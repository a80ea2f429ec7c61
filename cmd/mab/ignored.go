// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/pflag"
)

// ignored are flags that docker buildx build takes and that change nothing here: those that it ignores itself, and those of its builders
// and its debugger. Scripts that have them work unchanged.
// Source: https://github.com/docker/buildx/blob/v0.37.0/commands/build.go
var ignored = []struct {
	name, shorthand string
	switches        bool
	why             string
}{
	{"builder", "", false, "the local solver builds"},
	{"debug", "D", true, "the solver's log tells more: solver.log in the directory of its state"},
	{"compress", "", true, "contexts travel as differences"},
	{"force-rm", "", true, "nothing is left of a step that failed"},
	{"rm", "", true, "nothing is left of a step"},
	{"squash", "", true, "BuildKit does not squash; a stage FROM scratch that copies everything does"},
	{"isolation", "", false, "it is for Windows"},
	{"security-opt", "", false, "BuildKit has RUN --security"},
	{"memory", "m", false, "steps get no control group"},
	{"memory-swap", "", false, "steps get no control group"},
	{"cpu-period", "", false, "steps get no control group"},
	{"cpu-quota", "", false, "steps get no control group"},
	{"cpu-shares", "c", false, "steps get no control group"},
	{"cpuset-cpus", "", false, "steps get no control group"},
	{"cpuset-mems", "", false, "steps get no control group"},
}

// ignoredFlags takes the flags, without showing them.
func ignoredFlags(flags *pflag.FlagSet) {
	for _, f := range ignored {
		if f.switches {
			flags.BoolP(f.name, f.shorthand, false, f.why)
		} else {
			flags.StringArrayP(f.name, f.shorthand, nil, f.why)
		}
		_ = flags.MarkHidden(f.name)
	}
}

// tellIgnored notes those that were given.
func (o *options) tellIgnored(flags *pflag.FlagSet) {
	for _, f := range ignored {
		if flags.Changed(f.name) {
			o.note("--%s has no effect: %s", f.name, f.why)
		}
	}
}
