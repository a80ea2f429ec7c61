// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/emulation"
)

func newEmulation(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "emulation",
		Short: "Show which architectures this machine runs, and get emulators for others",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEmulationBench(o), newEmulationList(o), newEmulationInstall(o), newEmulationUninstall(o))
	return cmd
}

func newEmulationList(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls [--json]",
		Short: "List each platform: native or emulated, by which QEMU, and whether a tiny program runs",
		Args:  arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listEmulation(cmd.Context(), asJSON, o)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printSurvey(w io.Writer, survey []emulation.Support, asJSON bool) error {
	if asJSON {
		return printJSON(w, survey)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "PLATFORM\tHOW\tINSTANCE\tFLAGS\tQEMU\tPROBE\tEMULATOR\tPROBLEM")
	for _, s := range survey {
		problem := s.Problem
		if s.Mend != "" {
			problem += "; mend: " + s.Mend
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			s.Platform, s.How, dash(s.Instance), dash(s.Flags), dash(s.Version), s.Probe, dash(s.Interpreter), problem)
	}
	return table.Flush()
}

// printHidden names the system's emulators that are not used because mab installed others.
func printHidden(w io.Writer, survey []emulation.Support, store emulation.Store) error {
	installed, err := store.List()
	if err != nil || len(installed) == 0 {
		return err
	}
	system, _, err := emulation.Find(emulation.FindConfig{})
	if err != nil {
		return err
	}
	for _, mine := range installed {
		for _, other := range system {
			used := false
			for _, s := range survey {
				used = used || s.Interpreter == mine.Path
			}
			if used && other.Handler.Name == mine.Handler.Name {
				_, _ = fmt.Fprintf(w, "mab: note: %s: QEMU %s that mab installed comes before %s; to use that: mab emulation uninstall %s\n",
					mine.Handler.Platforms[0], mine.Version, other.Path, mine.Handler.Platforms[0].Architecture)
			}
		}
	}
	return nil
}

// printChoices tells where an emulator serves because it was measured.
func printChoices(w io.Writer, survey []emulation.Support) {
	seen := map[string]bool{}
	for _, s := range survey {
		if s.Choice != "" && !seen[s.Interpreter] {
			_, _ = fmt.Fprintf(w, "mab: note: %s: %s serves: %s; to undo this: mab emulation bench --forget\n", s.Platform, s.Interpreter, s.Choice)
		}
		seen[s.Interpreter] = true
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
