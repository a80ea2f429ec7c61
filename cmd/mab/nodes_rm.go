// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/nodes"
)

type nodesRemoveCommand struct {
	nodesCommand
	purge, force bool
}

func newNodesRemove(o *options) *cobra.Command {
	n := &nodesRemoveCommand{nodesCommand: nodesCommand{options: o}}
	cmd := &cobra.Command{
		Use:   "rm [--purge [--force]] NAME|URL",
		Short: "Forget a node, and take mab off it",
		Long: `Forget a node. With --purge, everything of mab is taken off it first: the solver is stopped, and its program, cache and sockets are
removed. That is refused while builds run there, unless with --force; a node that cannot be reached stays saved then. A URL names one
that is not saved, for --purge.`,
		Example: `  mab nodes rm arm1
  mab nodes rm --purge arm1`,
		Args:              arguments(1, 1, "the NAME or URL of a node"),
		ValidArgsFunction: completeNodes,
		RunE:              func(cmd *cobra.Command, args []string) error { return n.run(cmd.Context(), args[0]) },
	}
	n.flags(cmd.Flags())
	cmd.Flags().BoolVar(&n.purge, "purge", false, "take everything of mab off the node first")
	cmd.Flags().BoolVar(&n.force, "force", false, "with --purge: stop builds that run there")
	return cmd
}

// removal is what was done, as --json has it.
type removal struct {
	nodes.Entry
	// Forgotten says that it was saved and is no more, Purged that nothing of mab is on it any more.
	Forgotten bool `json:"forgotten"`
	Purged    bool `json:"purged"`
}

func (n *nodesRemoveCommand) run(ctx context.Context, named string) error {
	e, done, err := n.understand(named)
	if err != nil {
		return err
	}
	if done.Purged {
		reach, err := n.reaching(&n.nodeOptions)
		if err != nil {
			return err
		}
		if err := nodes.Purge(ctx, e, reach, n.force); err != nil {
			if done.Forgotten {
				n.note("%s stays saved", e.Name)
			}
			return err
		}
		n.note("nothing of mab is on %s any more", e.Name)
	}
	if n.purge && !done.Purged {
		n.note("mab has put nothing on %s", e.Name)
	}
	if done.Forgotten {
		if _, err := nodeList().Remove(ctx, e.Name); err != nil {
			return err
		}
		n.note("%s is forgotten", e.Name)
	}
	if n.json {
		return printJSON(n.std.out, done)
	}
	return nil
}

// understand finds the node, and says what is to be done.
func (n *nodesRemoveCommand) understand(named string) (nodes.Entry, removal, error) {
	wrong := func(what, hint string) (nodes.Entry, removal, error) {
		return nodes.Entry{}, removal{}, usage{fmt.Errorf("removing %q: %s", named, what), hint}
	}
	if n.force && !n.purge {
		return wrong("--force is for --purge", "add --purge, or leave --force out")
	}
	saved, err := nodeList().Entries()
	if err != nil {
		return nodes.Entry{}, removal{}, err
	}
	e, err := nodes.Find(saved, named)
	if err != nil {
		return nodes.Entry{}, removal{}, err
	}
	at, err := nodes.ParseURL(e.URL)
	known := slices.Contains(saved, e)
	switch {
	case err != nil:
		return nodes.Entry{}, removal{}, err
	case at.Kind == nodes.Local:
		return wrong("it is this machine", "to build without it name the others: mab build --node NAME")
	case !known && at.Kind != nodes.SSH:
		return wrong("it is not saved, and mab puts nothing there", "the saved ones: mab nodes ls")
	case !known && !n.purge:
		return wrong("it is not saved", "the saved ones: mab nodes ls; to take mab off a machine: mab nodes rm --purge "+named)
	}
	return e, removal{Entry: e, Forgotten: known, Purged: n.purge && at.Kind == nodes.SSH}, nil
}
