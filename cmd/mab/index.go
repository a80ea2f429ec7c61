// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mab-build/mab/manifestlist"
)

func newIndex(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "index",
		Short: "Make image indexes, look into them, and check them",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newIndexCreate(o), newIndexAnnotate(o), newIndexInspect(o), newIndexVerify(o))
	return cmd
}

type inspectCommand struct {
	*options
	json, raw, insecure bool
}

func newIndexInspect(o *options) *cobra.Command {
	i := &inspectCommand{options: o}
	cmd := &cobra.Command{
		Use:   "inspect [--json|--raw] REFERENCE",
		Short: "Show what an index holds",
		Long: `Show what an index holds: each platform with its digest, size and attestations. REFERENCE names an image in a registry, or an
OCI layout, a directory or a tar: oci-layout://PATH[:TAG|@DIGEST], or a path that starts with / or a dot.`,
		Example: `  mab index inspect registry.example/app:1.0
  mab index inspect --json ./layout`,
		Args: arguments(1, 1, "one REFERENCE"),
		RunE: func(cmd *cobra.Command, args []string) error { return i.run(cmd, args[0]) },
	}
	cmd.Flags().BoolVar(&i.json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&i.raw, "raw", false, "print the index as the registry has it")
	cmd.Flags().BoolVar(&i.insecure, "insecure-registry", false, "read by plain HTTP or from an unknown certificate")
	return cmd
}

func (i *inspectCommand) run(cmd *cobra.Command, source string) error {
	if i.json && i.raw {
		return usage{errors.New("--json and --raw exclude each other"), "choose one"}
	}
	config, err := readConfig()
	if err != nil {
		return err
	}
	registry, err := manifestlist.New(manifestlist.Config{Insecure: i.insecure, Registries: config.Registries})
	if err != nil {
		return err
	}
	defer registry.Close()
	if i.raw {
		_, raw, err := registry.Fetch(cmd.Context(), source)
		if err != nil {
			return err
		}
		_, err = i.std.out.Write(raw)
		return err
	}
	found, err := registry.Inspect(cmd.Context(), source)
	if err != nil {
		return err
	}
	if i.json {
		return printJSON(i.std.out, found)
	}
	return printIndex(i.std.out, found)
}

func printIndex(w io.Writer, found *manifestlist.Inspection) error {
	_, _ = fmt.Fprintf(w, "%s\n%s  %s\n\n", found.Reference, found.Digest, found.MediaType)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "PLATFORM\tDIGEST\tLAYERS\tSIZE\tATTESTATIONS")
	for _, image := range found.Images {
		var kinds []string
		for _, a := range image.Attestations {
			kinds = append(kinds, a.Kinds...)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", image.Platform, image.Digest, image.Layers,
			units.HumanSize(float64(image.LayersSize)), dash(strings.Join(kinds, ",")))
	}
	return table.Flush()
}
