// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
)

type planCommand struct {
	*options
	request coordinator.Request
	farm    nodeOptions
	json    bool
}

func newPlan(o *options) *cobra.Command {
	p := &planCommand{options: o}
	cmd := &cobra.Command{
		Use:   "plan [flags] [CONTEXT]",
		Short: "Say what build would do, and why",
		Long: `Say what mab build with the same flags would do: which node builds each platform, by which strategy and why, which steps
run natively, under QEMU, or run nothing, and what one node does for others, with what travels from it. Nothing is built.`,
		Example: `  mab plan --platform linux/amd64,linux/arm64 .`,
		Args:    arguments(0, 1, "one CONTEXT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				p.request.Context = args[0]
			}
			return p.run(cmd)
		},
	}
	requestFlags(cmd.Flags(), &p.request)
	nodeFlags(cmd.Flags(), &p.farm)
	ignoredFlags(cmd.Flags())
	cmd.Flags().BoolVar(&p.json, "json", false, "print the plan as JSON")
	return cmd
}

func (p *planCommand) run(cmd *cobra.Command) error {
	p.request.Stdin = p.std.in
	p.tellIgnored(cmd.Flags())
	c, err := p.coordinator(&p.farm, nil, func(text string) { p.note("%s", text) })
	if err != nil {
		return err
	}
	plan, err := c.Plan(cmd.Context(), p.request)
	if err != nil {
		return err
	}
	if p.json {
		return printJSON(p.std.out, plan)
	}
	printPlan(p.std.out, plan)
	return nil
}

func printPlan(w io.Writer, plan *coordinator.Plan) {
	if plan.BuildWhy != "" {
		_, _ = fmt.Fprintf(w, "BUILDPLATFORM is %s, %s\n\n", plan.Build, plan.BuildWhy)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	several := slices.ContainsFunc(plan.Assignments, func(a coordinator.Assignment) bool { return a.Target != "" })
	target := func(a *coordinator.Assignment) string {
		if several {
			return a.Target + "\t"
		}
		return ""
	}
	if several {
		_, _ = fmt.Fprint(table, "TARGET\t")
	}
	_, _ = fmt.Fprintln(table, "PLATFORM\tNODE\tSTRATEGY\tNATIVE\tQEMU\tNOTHING\tWHY")
	for i := range plan.Assignments {
		a := &plan.Assignments[i]
		_, _ = fmt.Fprintf(table, "%s%s\t%s\t%s\t%d\t%d\t%d\t%s\n", target(a), a.Platform, a.Node, a.Strategy,
			a.Count(crossbuild.RunsNatively), a.Count(crossbuild.RunsEmulated)+a.Count(crossbuild.RunsAssisted), a.Count(crossbuild.RunsNothing), a.Why)
	}
	_ = table.Flush()
	for i := range plan.Portions {
		printPortion(w, &plan.Portions[i])
	}
	for i := range plan.Assignments {
		a := &plan.Assignments[i]
		_, _ = fmt.Fprintf(w, "\n%s\n", coordinator.Goal{Target: a.Target, Platform: a.Platform})
		printSteps(w, a.Steps, a.Problems)
		for _, o := range a.Alternatives {
			printFact(w, "not on", alternative(o))
		}
	}
	if len(plan.Shared) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w, "\nshared, done once")
	by := "platforms"
	if several {
		by = "images" // of one platform, it may be
	}
	for _, s := range plan.Shared {
		_, _ = fmt.Fprintf(w, "  %d %s  %s\n", len(s.Targets), by, s.Step.Name)
	}
}

// printPortion prints what one node does for others.
func printPortion(w io.Writer, p *coordinator.Portion) {
	names := make([]string, len(p.Platforms))
	for i, name := range p.Platforms {
		names[i] = name.String()
	}
	head := "part of"
	if p.Kind == coordinator.PortionShared {
		head = "shared by"
	}
	_, _ = fmt.Fprintf(w, "\n%s %s, done once on %s: %s, %s\n", head, strings.Join(names, ", "), p.Node, p.Strategy, p.Why)
	printSteps(w, p.Steps, p.Problems)
	for _, t := range p.Travels {
		printFact(w, "travels", t.String())
	}
}

func printSteps(w io.Writer, steps []crossbuild.Handling, problems []string) {
	for _, h := range steps {
		how := string(h.How)
		if h.How == crossbuild.RunsEmulated {
			how = h.Emulator
		}
		text := h.Step.Name
		for _, a := range h.Aid.All() {
			text += fmt.Sprintf(" (%s of %s, for %s)", a.Toolchain, a.Image, a.Native)
		}
		printFact(w, how, text)
	}
	for _, problem := range problems {
		printFact(w, "problem", problem)
	}
}

func printFact(w io.Writer, what, text string) { _, _ = fmt.Fprintf(w, "  %-12s %s\n", what, text) }

func alternative(a coordinator.Alternative) string {
	out := a.Node
	if a.Strategy != 0 {
		out += ", " + a.Strategy.String()
	}
	if a.Expected > 0 {
		out += fmt.Sprintf(", expected %.1f s", a.Expected)
	}
	return out + ": " + a.Why
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
