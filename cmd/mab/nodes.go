// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/nodes"
)

func newNodes(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Save, look at and remove the machines that builds run on",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNodesAdd(o), newNodesList(o), newNodesInspect(o), newNodesCheck(o), newNodesLogs(o), newNodesRemove(o))
	return cmd
}

// nodesCommand is what the commands of mab nodes share.
type nodesCommand struct {
	*options
	nodeOptions
	json bool
}

func (n *nodesCommand) flags(flags *pflag.FlagSet) {
	reachFlags(flags, &n.nodeOptions)
	flags.BoolVar(&n.json, "json", false, "print JSON")
}

// all are the nodes that were named, else those that a build has.
func (n *nodesCommand) all(named []string) ([]nodes.Entry, error) {
	saved, err := nodeList().Entries()
	if err != nil {
		return nil, err
	}
	if len(named) > 0 {
		return nodes.Named(saved, named)
	}
	return nodes.Choose(saved, os.Getenv(nodesVariable), nil, runtime.GOOS == "linux")
}

// one is the node that was named.
func (n *nodesCommand) one(named string) (nodes.Entry, error) {
	saved, err := nodeList().Entries()
	if err != nil {
		return nodes.Entry{}, err
	}
	return nodes.Find(saved, named)
}

// look asks nodes what they are.
func (n *nodesCommand) look(ctx context.Context, list []nodes.Entry, measure bool) ([]coordinator.Found, error) {
	reach, err := n.reaching(&n.nodeOptions)
	if err != nil {
		return nil, err
	}
	attach, err := n.attach()
	if err != nil {
		return nil, err
	}
	found := coordinator.Look(ctx, coordinator.LookConfig{Attach: attach, Reach: reach, Measure: measure}, list, nil)
	// What was cut short says nothing of the nodes.
	return found, ctx.Err()
}

func newNodesList(o *options) *cobra.Command {
	n := &nodesCommand{options: o}
	cmd := &cobra.Command{
		Use:   "ls [--json] [NAME|URL…]",
		Short: "List the nodes, and what each is and does now",
		Long: `List nodes, and what each is and does now: those given, else those that a build has. All are asked at once; one that does not
answer is listed as unreachable, with the reason. The exit code is 0 all the same.`,
		Example: `  mab nodes ls
  mab nodes ls --json arm1 ssh://pi@raspberry`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := n.all(args)
			if err != nil {
				return err
			}
			found, err := n.look(cmd.Context(), list, false)
			if err != nil {
				return err
			}
			if n.json {
				return printJSON(n.std.out, nodeReports(found))
			}
			return printNodes(n.std.out, nodeReports(found))
		},
	}
	n.flags(cmd.Flags())
	return cmd
}

func newNodesInspect(o *options) *cobra.Command {
	n := &nodesCommand{options: o}
	cmd := &cobra.Command{
		Use:   "inspect [--json] NAME|URL",
		Short: "Show all that is known of a node",
		Long: `Show all that is known of a node: the machine, what it does now, and how it runs each platform. A URL names one that is not saved;
local is this machine.`,
		Example: `  mab nodes inspect arm1
  mab nodes inspect --json ssh://pi@raspberry`,
		Args:              arguments(1, 1, "the NAME or URL of a node"),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := n.one(args[0])
			if err != nil {
				return err
			}
			found, err := n.look(cmd.Context(), []nodes.Entry{e}, false)
			if err != nil {
				return err
			}
			if found[0].Err != nil {
				return found[0].Err
			}
			return n.show(found[0])
		},
	}
	n.flags(cmd.Flags())
	return cmd
}

// show prints what was found of one node.
func (n *nodesCommand) show(found coordinator.Found) error {
	if n.json {
		return printJSON(n.std.out, newNodeReport(found))
	}
	return printNode(n.std.out, newNodeReport(found))
}

func newNodesCheck(o *options) *cobra.Command {
	n := &nodesCommand{options: o}
	cmd := &cobra.Command{
		Use:   "check [--json] [NAME|URL…]",
		Short: "Say what is wrong with nodes, and measure them",
		Long: `Reach nodes, those given or else those that a build has, measure the link and how fast they run each platform, and say what is
wrong with each and what mends it.

The exit code is 0 if nothing is, 4 if a node is unreachable, else 1.`,
		Example: `  mab nodes check
  mab nodes check arm1`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := n.all(args)
			if err != nil {
				return err
			}
			found, err := n.look(cmd.Context(), list, true)
			if err != nil {
				return err
			}
			reports := nodeReports(found)
			if n.json {
				err = printJSON(n.std.out, reports)
			} else {
				err = printNodeChecks(n.std.out, reports)
			}
			return errors.Join(err, sick(reports))
		},
	}
	n.flags(cmd.Flags())
	return cmd
}

// sick is the error of nodes with problems; nil if there are none. They were printed.
func sick(reports []nodeReport) error {
	var gone, bad int
	for _, r := range reports {
		switch {
		case r.Status != nodeReady:
			gone++
		case len(r.Problems) > 0:
			bad++
		}
	}
	switch {
	case gone > 0:
		return sickNodes{fmt.Sprintf("%d of %d nodes cannot be reached", gone, len(reports)), true}
	case bad > 0:
		return sickNodes{fmt.Sprintf("%d of %d nodes have problems", bad, len(reports)), false}
	}
	return nil
}

type sickNodes struct {
	text string
	lost bool
}

func (s sickNodes) Error() string { return s.text }
func (s sickNodes) Lost() bool    { return s.lost }
func (sickNodes) Hint() string {
	return "mend what is said above; builds use the other nodes until then"
}
