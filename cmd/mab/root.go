// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/solver"
)

// options are what several commands share.
type options struct {
	std   streams
	state solver.State
}

func newRoot(std streams) *cobra.Command {
	o := &options{std: std, state: solver.State{Version: version}}
	cmd := &cobra.Command{
		Use:           "mab",
		Short:         "Build container images for many architectures",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetIn(std.in)
	cmd.SetOut(std.out)
	cmd.SetErr(std.err)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// What a flag's value has to say about itself is better than a list of all flags.
		var known interface{ Hint() string }
		if errors.As(err, &known) {
			return usage{err, known.Hint()}
		}
		return usage{err, fmt.Sprintf("the flags of this command: %s --help", cmd.CommandPath())}
	})
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.state.Root, "root", os.Getenv("MAB_ROOT"), "directory of the solver's `state` (env MAB_ROOT; default /var/lib/mab, for a plain user ~/.local/state/mab)")
	flags.StringVar(&o.state.Runtime, "runtime", os.Getenv("MAB_RUNTIME_DIR"), "`directory` of the solver's socket (env MAB_RUNTIME_DIR; default: --root if given, else /run/mab, for a plain user that of the state)")
	cmd.AddCommand(newBuild(o), newBake(o), newPlan(o), newCache(o), newDoctor(o), newEmulation(o), newIndex(o), newNodes(o), newServe(o))
	addAgent(cmd, o)
	addKeeper(cmd)
	addReference(cmd)
	complete(cmd, completions())
	return cmd
}

func unknownCommand(cmd *cobra.Command, name string) error {
	// Cobra sets its default only where it makes the suggestions itself.
	cmd.SuggestionsMinimumDistance = 2
	hint := "the commands: " + cmd.CommandPath() + " --help"
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean: " + cmd.CommandPath() + " " + strings.Join(near, " or "+cmd.CommandPath()+" ")
	}
	return usage{fmt.Errorf("there is no command %q", name), hint}
}

// arguments checks the number of arguments and says which are wanted.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		return usage{
			fmt.Errorf("%s takes %s, but got %d", cmd.CommandPath(), what, len(args)),
			fmt.Sprintf("usage: %s; flags go with = or before the argument", cmd.UseLine()),
		}
	}
}
