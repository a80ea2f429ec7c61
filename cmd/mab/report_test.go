// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	mab "github.com/mab-build/mab/cmd/mab"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// failed stands for a solver's failure, which only a solver can make.
type failed struct{ source string }

func (failed) Error() string { return "exit code: 1" }

func (f failed) As(target any) bool {
	failure, ok := target.(**solver.Failure)
	if ok {
		*failure = &solver.Failure{Source: f.source}
	}
	return ok
}

func TestReport(t *testing.T) {
	unbuildable := &coordinator.UnbuildableError{Platforms: []coordinator.Unbuildable{
		{Platform: platforms.MustParse("s390x"), Reason: "on local nothing runs it", Mend: "install A"},
		{Platform: platforms.MustParse("riscv64"), Reason: "on local nothing runs it", Mend: "install B"},
	}}
	_, badPlatform := platforms.Parse("vax")
	_, badOutput := coordinator.ParseOutput("type=x,dest=a")
	for _, test := range []struct {
		rule  string
		err   error
		code  int
		lines []string
	}{
		{"done", nil, 0, nil},
		{"a failure", errors.New("no such thing"), 1, []string{"mab: error: no such thing"}},
		{"a failure of several lines", errors.New("a\nb"), 1, []string{"mab: error: a", "mab: error: b"}},
		{"the lines of the Dockerfile go before", fmt.Errorf("building: %w", failed{"Dockerfile:2\n>>> RUN false\n"}), 1,
			[]string{"Dockerfile:2", ">>> RUN false", "mab: error: building: exit code: 1"}},
		{"a base image", &coordinator.BaseError{Base: "b:1", Lacks: []platforms.Platform{platforms.MustParse("s390x")}}, 1, []string{
			"mab: error: the base image b:1 has no linux/s390x; it has ",
			"mab: hint: build only for platforms that it has (--platform), take another base image, or, if the stage only compiles for others, " +
				"let it run on the build platform: FROM --platform=$BUILDPLATFORM",
		}},
		{"usage", mab.NewUsage(errors.New("too many arguments"), "write\nless"), 2,
			[]string{"mab: error: too many arguments", "mab: hint: write", "mab: hint: less"}},
		{"usage without a hint", mab.NewUsage(errors.New("too many arguments"), ""), 2, []string{"mab: error: too many arguments"}},
		{"usage that another package found", badOutput, 2, []string{
			`mab: error: understanding --output "type=x,dest=a": there is no type "x"`,
			"mab: hint: " + badOutput.(interface{ Hint() string }).Hint(),
		}},
		{"a hint alone makes no usage error", fmt.Errorf("reading the plan: %w", badPlatform), 1, []string{
			"mab: error: reading the plan: " + badPlatform.Error(),
			"mab: hint: " + badPlatform.(interface{ Hint() string }).Hint(),
		}},
		{"no node can build it", fmt.Errorf("planning: %w", unbuildable), 3, []string{
			"mab: error: planning: no node can build linux/s390x: on local nothing runs it",
			"mab: error: no node can build linux/riscv64: on local nothing runs it",
			"mab: hint: install A",
			"mab: hint: install B",
		}},
		{"a node was lost", &coordinator.LostError{Node: "pi4", Log: "panic"}, 4, []string{
			"mab: error: building on pi4: the solver went away; the end of its log:",
			"mab: error: panic",
			"mab: hint: run the same command again when pi4 is back: steps that were done are not run again",
		}},
		{"the result was refused", &coordinator.RefusedError{}, 5, []string{"mab: error: checking the result: <nil>"}},
		{"interrupted", fmt.Errorf("building: %w", context.Canceled), 130, []string{"mab: error: interrupted; nothing was tagged"}},
		{"interrupted, whatever else went wrong then", errors.Join(context.Canceled, unbuildable), 130, []string{"mab: error: interrupted; nothing was tagged"}},
		{"a time that ran out is no interruption", context.DeadlineExceeded, 1, []string{"mab: error: context deadline exceeded"}},
		{"the first thing counts, what follows is told", errors.Join(unbuildable, errors.New("removing temporary files")), 3, []string{
			"mab: error: no node can build linux/s390x: on local nothing runs it",
			"mab: error: no node can build linux/riscv64: on local nothing runs it",
			"mab: error: removing temporary files",
			"mab: hint: install A",
			"mab: hint: install B",
		}},
		{"an image that is not right", &contents.RefusedError{Findings: 2}, 5, []string{
			"mab: error: checking the contents: 2 things are wrong",
			"mab: hint: a COPY --from, a base image or a download brought what is of another platform; what is meant to be there: --verify-exempt GLOB",
		}},
		{"an image that is damaged", fmt.Errorf("reading: %w", &contents.RefusedError{Findings: 1, Damaged: 1}), 5, []string{
			"mab: error: reading: checking the contents: one thing is wrong",
			"mab: hint: the image is not what was built: copy it anew from where it is whole, or build it again",
		}},
		{"a solver that said itself why it ended", fmt.Errorf("serving: %w", mab.NewEnded(5)), 5, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var w strings.Builder
			if code := mab.Report(&w, test.err); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			want := strings.Join(append(test.lines, ""), "\n")
			if diff := cmp.Diff(want, w.String()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// TestUsage has calls that are wrong end at once, before any solver is asked.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/Dockerfile", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAB_CACHE_SIZE", "")
	t.Setenv("MAB_CACHE_AGE", "")
	for _, test := range []struct {
		args  string
		lines []string
	}{
		{"biuld", []string{`mab: error: there is no command "biuld"`, "mab: hint: did you mean: mab build"}},
		{"em", []string{`mab: error: there is no command "em"`, "mab: hint: did you mean: mab emulation"}},
		{"push", []string{`mab: error: there is no command "push"`, "mab: hint: the commands: mab --help"}},
		{"index inspct", []string{`mab: error: there is no command "inspct"`, "mab: hint: did you mean: mab index inspect"}},
		{"emulation list", []string{`mab: error: there is no command "list"`, "mab: hint: did you mean: mab emulation ls"}},
		{"build --platforms x", []string{"mab: error: unknown flag: --platforms", "mab: hint: the flags of this command: mab build --help"}},
		{"build a b", []string{
			"mab: error: mab build takes one CONTEXT, but got 2", "mab: hint: usage: mab build [flags] [CONTEXT]; flags go with = or before the argument",
		}},
		{"index inspect", []string{
			"mab: error: mab index inspect takes one REFERENCE, but got 0",
			"mab: hint: usage: mab index inspect [--json|--raw] REFERENCE [flags]; flags go with = or before the argument",
		}},
		{"index inspect --json --raw a", []string{"mab: error: --json and --raw exclude each other", "mab: hint: choose one"}},
		{"serve --cache-size much", []string{`mab: error: understanding --cache-size "much"`, "mab: hint: write a size such as 20GB"}},
		{"serve --cache-age -1h", []string{`mab: error: understanding --cache-age "-1h"`, "mab: hint: write a time such as 720h"}},
		{"build --progress=fancy .", []string{`mab: error: understanding --progress "fancy"`, "mab: hint: choose auto, plain, tty, rawjson or quiet"}},
		{"build -t A --push .", []string{
			`mab: error: reading reference "A": invalid reference format: repository name (library/A) must be lowercase`,
			"mab: hint: repository names are lower case: a",
		}},
		{"build --network=far .", []string{`mab: error: understanding --network "far"`, "mab: hint: choose default, none or host"}},
		{"build none", []string{
			`mab: error: opening the context "none": it does not exist`,
			"mab: hint: the context is the directory whose files the build may use; for the current one, write a dot: mab build .",
		}},
		{"plan -f none .", []string{
			`mab: error: opening the Dockerfile "none": it does not exist`, "mab: hint: a path after -f is relative to the current directory, not to the context",
		}},
		{"build --push .", []string{"mab: error: pushing: the result has no reference", "mab: hint: name it with -t REGISTRY/REPOSITORY:TAG"}},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Chdir(dir)
			var stdout, stderr strings.Builder
			if code := mab.Run(t.Context(), strings.Fields(test.args), &stdout, &stderr); code != 2 {
				t.Errorf("exit code %d", code)
			}
			if diff := cmp.Diff(strings.Join(append(test.lines, ""), "\n"), stderr.String()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if stdout.Len() > 0 {
				t.Errorf("standard output got %q", &stdout)
			}
		})
	}
}

// TestFlagHints has a flag's value say what is wrong with it, rather than the command list its flags.
func TestFlagHints(t *testing.T) {
	for args, want := range map[string]string{
		"build --platform linux/vax": "mab: hint: ",
		"build -o type=x":            "mab: hint: write --output DIR",
		"plan --strategy fast":       "mab: hint: use one or more of native",
	} {
		t.Run(args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := mab.Run(t.Context(), strings.Fields(args), &stdout, &stderr)
			if code != 2 || !strings.Contains(stderr.String(), "\n"+want) || strings.Contains(stderr.String(), "--help") {
				t.Errorf("exit code %d, %s", code, &stderr)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for args, want := range map[string]string{
		"":             "Available Commands:",
		"--help":       "Available Commands:",
		"--version":    "mab version dev\n",
		"emulation":    "mab emulation [command]",
		"index":        "mab index [command]",
		"build --help": "--build-arg NAME=VALUE",
	} {
		t.Run(args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := mab.Run(t.Context(), strings.Fields(args), &stdout, &stderr)
			if code != 0 || !strings.Contains(stdout.String(), want) || stderr.Len() > 0 {
				t.Errorf("exit code %d, %s%s", code, &stdout, &stderr)
			}
		})
	}
}
