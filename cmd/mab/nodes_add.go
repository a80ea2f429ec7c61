// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/nodes"
)

type nodesAddCommand struct {
	nodesCommand
	entry   nodes.Entry
	noCheck bool
}

func newNodesAdd(o *options) *cobra.Command {
	n := &nodesAddCommand{nodesCommand: nodesCommand{options: o}}
	cmd := &cobra.Command{
		Use:   "add [flags] NAME URL",
		Short: "Save a node, after it was reached",
		Long: `Reach a node, show what it is, and save it: builds use it from then on. URL is ssh://[USER@]HOST[:PORT], where nothing needs to be
installed, or that of a buildkitd: ssh+unix://[USER@]HOST[:PORT]/PATH, unix:///PATH, tcp://HOST:PORT.

Nothing is saved of a node that cannot be reached, unless with --no-check.`,
		Example: `  mab nodes add arm1 ssh://pi@raspberry
  mab nodes add --slots 8 big ssh://build@big.example:2222
  mab nodes add --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem bk tcp://bk.example:1234`,
		Args: arguments(2, 2, "a NAME and a URL"),
		RunE: func(cmd *cobra.Command, args []string) error { return n.run(cmd.Context(), args[0], args[1]) },
	}
	flags := cmd.Flags()
	flags.IntVar(&n.entry.Slots, "slots", 0, "the `number` of platforms that it builds at once (default as many as it has CPUs, at most 4)")
	flags.StringVar(&n.entry.TLS.CA, "tlscacert", "", "the CA that signed the solver's certificate, a PEM `file`")
	flags.StringVar(&n.entry.TLS.Cert, "tlscert", "", "certificate of this client, a PEM `file`")
	flags.StringVar(&n.entry.TLS.Key, "tlskey", "", "its key, a PEM `file`")
	flags.StringVar(&n.entry.TLS.ServerName, "tls-server-name", "", "`name` in the solver's certificate (default the host of the URL)")
	flags.BoolVar(&n.noCheck, "no-check", false, "save it without reaching it")
	n.flags(flags)
	return cmd
}

func (n *nodesAddCommand) run(ctx context.Context, name, url string) error {
	given, err := n.given(name, url)
	if err != nil {
		return err
	}
	list := nodeList()
	saved, err := list.Entries()
	if err != nil {
		return err
	}
	if err := list.Free(given, saved); err != nil {
		return err
	}
	if n.noCheck {
		if err := n.save(ctx, list, given); err != nil || !n.json {
			return err
		}
		return printJSON(n.std.out, nodeReport{Entry: given, Status: nodeUnknown})
	}
	found, err := n.look(ctx, []nodes.Entry{given}, false)
	if err != nil {
		return err
	}
	if found[0].Err != nil {
		n.note("nothing was saved; to save it as it is: mab nodes add --no-check %s %s", name, url)
		return found[0].Err
	}
	if err := n.save(ctx, list, given); err != nil {
		return err
	}
	return n.show(found[0])
}

// given is the node that the arguments and the flags describe.
func (n *nodesAddCommand) given(name, url string) (nodes.Entry, error) {
	out := n.entry
	if out.TLS == (nodes.TLS{}) {
		e, err := nodes.NewEntry(name, url)
		e.Slots = out.Slots
		return e, err
	}
	at, err := nodes.ParseURL(url)
	out.Name, out.URL = name, at.String()
	return out, err
}

func (n *nodesAddCommand) save(ctx context.Context, list nodes.List, e nodes.Entry) error {
	if err := list.Add(ctx, e); err != nil {
		return err
	}
	n.note("saved %s in %s", e.Name, list.File)
	return nil
}
