// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// CompletionNames are the flags that completions has something for.
func CompletionNames() []string { return slices.Sorted(maps.Keys(completions())) }

// AllFlags are the names of the flags of all commands.
func AllFlags() map[string]bool {
	out := map[string]bool{}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		note := func(f *pflag.Flag) { out[f.Name] = true }
		cmd.Flags().VisitAll(note)
		cmd.PersistentFlags().VisitAll(note)
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(newRoot(streams{}))
	return out
}
