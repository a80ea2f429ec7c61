// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

type nodesLogsCommand struct {
	nodesCommand
	lines int
}

const logLines = 100

func newNodesLogs(o *options) *cobra.Command {
	n := &nodesLogsCommand{nodesCommand: nodesCommand{options: o}}
	cmd := &cobra.Command{
		Use:   "logs [--lines N] NAME|URL",
		Short: "Show the end of the log of a node's solver",
		Long: `Show the end of the log of a node's solver. Only solvers that mab starts have one: those of buildkitd are where that was told to
write them.`,
		Example: `  mab nodes logs arm1
  mab nodes logs --lines 1000 local`,
		Args:              arguments(1, 1, "the NAME or URL of a node"),
		ValidArgsFunction: completeNodes,
		RunE:              func(cmd *cobra.Command, args []string) error { return n.run(cmd.Context(), args[0]) },
	}
	n.flags(cmd.Flags())
	cmd.Flags().IntVar(&n.lines, "lines", logLines, "at most so many `lines`")
	return cmd
}

// nodeLog is the end of a log, as --json has it.
type nodeLog struct {
	nodes.Entry
	Log string `json:"log"`
}

func (n *nodesLogsCommand) run(ctx context.Context, named string) error {
	if n.lines <= 0 {
		return usage{fmt.Errorf("understanding --lines %d: it is not above zero", n.lines), "leave it out, or say how many"}
	}
	e, err := n.one(named)
	if err != nil {
		return err
	}
	at, err := nodes.ParseURL(e.URL)
	if err != nil {
		return err
	}
	if at.Kind != nodes.Local && at.Kind != nodes.SSH {
		return noLogError{e.Name}
	}
	text, err := n.read(ctx, e)
	if err != nil {
		return err
	}
	if n.json {
		return printJSON(n.std.out, nodeLog{e, text})
	}
	if text == "" {
		n.note("there is no log yet")
		return nil
	}
	_, err = fmt.Fprintln(printing{n.std.out}, strings.TrimSuffix(text, "\n"))
	return err
}

func (n *nodesLogsCommand) read(ctx context.Context, e nodes.Entry) (string, error) {
	if e.URL == nodes.Local {
		return solver.LogEnd(n.state, n.lines)
	}
	reach, err := n.reaching(&n.nodeOptions)
	if err != nil {
		return "", err
	}
	return nodes.Logs(ctx, e, reach, n.lines)
}

// noLogError is a solver that somebody else started.
type noLogError struct{ name string }

func (e noLogError) Error() string {
	return fmt.Sprintf("reading the log of %q: mab did not start its solver", e.name)
}
func (noLogError) Hint() string {
	return "read it where that writes it, as with journalctl -u buildkit on that machine"
}
