// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

type benchCommand struct {
	*options
	cfg    emulation.BenchConfig
	json   bool
	forget bool
}

func newEmulationBench(o *options) *cobra.Command {
	c := &benchCommand{options: o}
	cmd := &cobra.Command{
		Use:   "bench [flags]",
		Short: "Measure every emulator of this machine, and use the fastest",
		Long: `Run a fixed set of programs natively and under every emulator that can serve a platform: what mab installed, and all that the
system has. What was measured is kept. Where a platform has several emulators, builds use from then on the one that is clearly
faster, unless a fault of its version is known; mab emulation ls says so.

All tests count CPU time. integer and exec are run for every architecture; float, syscalls and threads for those of which there is
a mab program beside this one or in $MAB_DIST.

Standard output gets a line for each emulator: how many times slower than this machine itself it is, 1 being as fast.`,
		Example: `  mab emulation bench
  mab emulation bench --platform linux/arm64 --json
  mab emulation bench --forget`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.Var((*platformList)(&c.cfg.Platforms), "platform", "measure the emulators of these `platforms` (default all)")
	flags.BoolVar(&c.json, "json", false, "print JSON: speeds per second of CPU time")
	flags.BoolVar(&c.forget, "forget", false, "measure nothing, and forget what was measured: the first emulator is used again")
	cmd.AddCommand(newEmulationMeasure(o))
	return cmd
}

// newEmulationMeasure is what bench runs under emulators.
func newEmulationMeasure(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "measure", Short: "Measure this very program", Hidden: true, Args: arguments(0, 0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			speeds, err := emulation.Measure()
			if err != nil {
				return err
			}
			return printJSON(o.std.out, speeds)
		},
	}
}

func (c *benchCommand) run(ctx context.Context) error {
	state, err := c.state.Resolve()
	if err != nil {
		return err
	}
	if c.forget {
		return c.forgetAll(ctx, state)
	}
	for _, p := range c.cfg.Platforms {
		if _, err := architectures([]string{p.String()}); err != nil {
			return err
		}
	}
	c.cfg.Find = emulation.FindConfig{Store: state.Emulators()}
	c.cfg.Measurer = measurer
	list, err := emulation.Bench(ctx, c.cfg)
	if err != nil {
		return err
	}
	for _, m := range list {
		if m.Problem != "" {
			c.note("%s: %s could not be measured: %s", m.Platform, m.Emulator, m.Problem)
		}
	}
	path := state.Measurements()
	kept := solver.ReadMeasurements(path).With(list)
	if err := kept.Write(path); err != nil {
		return err
	}
	chosen, err := c.choices(ctx, state, kept, list)
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.std.out, list)
	}
	return c.print(list, chosen)
}

// measurer is the command that measures a platform's programs from within: mab's own of that architecture.
func measurer(p platforms.Platform) []string {
	path, ok := nodes.ProgramFor(p.Architecture)
	if !ok {
		return nil
	}
	return []string{path, "emulation", "bench", "measure"}
}

// choices are the paths of the emulators that are used from now on. It has a solver that runs take them, and tells where one is not the first.
func (c *benchCommand) choices(ctx context.Context, state solver.State, kept emulation.Measurements, list []emulation.Measured) (map[string]bool, error) {
	found, _, err := emulation.Find(emulation.FindConfig{Store: state.Emulators(), Measured: kept})
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, e := range found {
		out[e.Path] = true
		for _, m := range list {
			if e.Why != "" && m.Emulator == e.Path {
				c.note("%s: %s serves: %s; to undo this: mab emulation bench --forget", m.Platform, e.Path, e.Why)
			}
		}
	}
	_, _, err = solver.Refresh(ctx, state)
	return out, err
}

func (c *benchCommand) forgetAll(ctx context.Context, state solver.State) error {
	was, err := emulation.Forget(state.Measurements())
	if err != nil {
		return err
	}
	if !was {
		c.note("nothing was measured")
		return nil
	}
	_, _, err = solver.Refresh(ctx, state)
	return err
}

func (c *benchCommand) print(list []emulation.Measured, chosen map[string]bool) error {
	own := list[0].Values()
	table := tabwriter.NewWriter(c.std.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "PLATFORM\tQEMU\tINTEGER\tEXEC\tFLOAT\tSYSCALLS\tTHREADS\tALL\tUSED\tEMULATOR")
	for _, m := range list {
		used := "no"
		if chosen[m.Emulator] || m.Emulator == "" {
			used = "yes"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s", m.Platform, dash(m.Version))
		for i, v := range m.Values() {
			_, _ = fmt.Fprintf(table, "\t%s", slower(v, own[i]))
		}
		_, _ = fmt.Fprintf(table, "\t%s\t%s\t%s\n", slower(m.Relative, 1), used, dash(m.Emulator))
	}
	return table.Flush()
}

// slower is how many times slower something is than own.
func slower(v, own float64) string {
	if v <= 0 || own <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", own/v)
}
