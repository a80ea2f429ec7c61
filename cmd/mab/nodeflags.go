// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

const (
	// nodesVariable names the nodes of every build, where nobody names them by --node.
	nodesVariable = "MAB_NODES"
	// nodesFileVariable names the saved list; empty, there is none.
	nodesFileVariable = "MAB_NODES_FILE"
	// keepVariable is how long links are kept for the next build, and keepDefault is it if nobody says.
	keepVariable = "MAB_LINK_PERSIST"
	keepDefault  = time.Minute
)

// nodeOptions are the flags that say which nodes there are, and how they are reached.
type nodeOptions struct {
	// named are the values of --node.
	named []string
	reach nodes.Config
}

// nodeFlags binds the flags of a command that uses several nodes.
func nodeFlags(flags *pflag.FlagSet, n *nodeOptions) {
	flags.StringArrayVar(&n.named, "node", nil,
		"build on these `nodes` alone: saved names, local, or URLs such as ssh://[USER@]HOST (a,b; repeatable; env "+nodesVariable+"; default local and all that are saved)")
	reachFlags(flags, n)
}

// reachFlags binds those of a command that names its nodes otherwise.
func reachFlags(flags *pflag.FlagSet, n *nodeOptions) {
	flags.BoolVar(&n.reach.AcceptNewHostKey, "accept-new-host-key", false, "take the key of a host that was never seen, and remember it")
	flags.DurationVar(&n.reach.Timeout, "connect-timeout", 0, "give a node this `time` to answer (default ConnectTimeout of ssh_config, else 10s)")
}

// nodes returns the nodes that are to be used, in order, and how they are reached.
func (o *options) nodes(n *nodeOptions) ([]nodes.Entry, nodes.Config, error) {
	saved, err := nodeList().Entries()
	if err != nil {
		return nil, nodes.Config{}, err
	}
	list, err := nodes.Choose(saved, os.Getenv(nodesVariable), n.named, runtime.GOOS == "linux")
	if err != nil {
		return nil, nodes.Config{}, err
	}
	if n.reach.Timeout >= 0 && !slices.ContainsFunc(list, func(e nodes.Entry) bool { return e.URL != nodes.Local }) {
		// Nothing goes anywhere, and nothing stays behind that would be worth a note.
		return list, nodes.Config{}, nil
	}
	cfg, err := o.reaching(n)
	if err != nil {
		return nil, nodes.Config{}, err
	}
	idle, err := keepTime(os.Getenv(keepVariable))
	if err == nil && idle > 0 {
		cfg.Keep = o.keep(idle)
	}
	return list, cfg, err
}

// coordinator is what builds on the nodes of a command. A nil display shows nothing.
func (o *options) coordinator(n *nodeOptions, display *solver.Display, note func(text string)) (*coordinator.Coordinator, error) {
	attach, err := o.attach()
	if err != nil {
		return nil, err
	}
	list, reach, err := o.nodes(n)
	if err != nil {
		return nil, err
	}
	return coordinator.New(coordinator.Config{
		Nodes: list, Reach: reach, Attach: attach, Display: display, Stdout: o.std.out, Version: version, Note: note,
	}), nil
}

// keepTime is how long a link is kept after the last build that used it.
func keepTime(text string) (time.Duration, error) {
	if text == "" {
		return keepDefault, nil
	}
	idle, err := time.ParseDuration(text)
	if err != nil || idle < 0 {
		return 0, usage{fmt.Errorf("reading %s=%q: no time", keepVariable, text), "write a time such as 10s or 5m; 0 keeps no links"}
	}
	return idle, nil
}

// reaching is how nodes are reached.
func (o *options) reaching(n *nodeOptions) (nodes.Config, error) {
	if n.reach.Timeout < 0 {
		return nodes.Config{}, usage{errTimeout, "write a time such as 10s or 1m"}
	}
	config, err := readConfig()
	if err != nil {
		return nodes.Config{}, err
	}
	portable, err := config.Portable()
	if err != nil {
		return nodes.Config{}, err
	}
	out := n.reach
	for _, text := range portable.Notes {
		o.note("%s", text)
	}
	out.Solver = nodes.SolverConfig{Toml: portable.Toml, Files: portable.Files}
	out.Version = version
	out.Ask = ask()
	out.Note = func(text string) { o.note("%s", text) }
	return out, nil
}

// nodeList is the saved list.
func nodeList() nodes.List {
	if path, ok := os.LookupEnv(nodesFileVariable); ok {
		return nodes.List{File: path}
	}
	return nodes.List{File: nodes.DefaultListFile()}
}
