// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/doctor"
)

type doctorCommand struct {
	*options
	cfg    doctor.Config
	json   bool
	inside string
}

func newDoctor(o *options) *cobra.Command {
	d := &doctorCommand{options: o}
	cmd := &cobra.Command{
		Use:   "doctor [--json] [REGISTRY…]",
		Short: "Say what works on this machine, what not, and what mends it",
		Long: `Say what works on this machine: ok; limited, and what follows; missing, and what mends it. Everything is tried: namespaces are
made, programs of other architectures run, an image is built. Registries are those that docker is logged in to, and those
given as host or host:port. Nothing is changed; the solver that builds is started if none runs, and ends by itself.

The exit code is 0 if a build for this machine's own platform works, else 1.`,
		Example: `  mab doctor
  mab doctor --json registry.example docker.io`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			d.cfg.Registries = args
			return d.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&d.json, "json", false, "print JSON")
	flags.BoolVar(&d.cfg.Insecure, "insecure-registry", false, "ask registries by plain HTTP or with an unknown certificate, too")
	flags.StringVar(&d.inside, "inside", "", "look from the solver's namespaces, and try file systems in this directory")
	_ = flags.MarkHidden("inside")
	return cmd
}

func (d *doctorCommand) run(cmd *cobra.Command) error {
	if cmd.Flags().Changed("inside") {
		return doctor.Inside(cmd.Context(), d.state, d.inside, d.std.out)
	}
	config, err := readConfig()
	if err != nil {
		return err
	}
	d.cfg.State, d.cfg.Built, d.cfg.Solver = d.state, built(), config
	checks, err := doctor.Examine(cmd.Context(), d.cfg)
	if err != nil {
		return err
	}
	if d.json {
		err = printJSON(d.std.out, checks)
	} else {
		err = printChecks(d.std.out, checks)
	}
	if err == nil && !doctor.Works(checks) {
		err = unwell{}
	}
	return err
}

// unwell is a machine that builds nothing. The line that says why was printed.
type unwell struct{}

func (unwell) Error() string { return "a build does not work on this machine" }
func (unwell) Hint() string  { return "mend what is missing above, from the top" }

// built is when the commit was made that this program is of; zero if the program does not know.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value) // What go build writes can be read.
			return t
		}
	}
	return time.Time{}
}

// printChecks prints a line for each check, and below it what follows and the mend on lines of their own, so that they can be
// copied.
func printChecks(w io.Writer, checks []doctor.Check) error {
	width := 0
	for _, c := range checks {
		if !c.Minor {
			width = max(width, len(c.Name))
		}
	}
	const status = "limited  "
	indent := strings.Repeat(" ", width+2+len(status))
	var err error
	for _, c := range checks {
		if c.Minor {
			continue
		}
		_, failed := fmt.Fprintf(w, "%-*s  %-*s%s\n", width, c.Name, len(status), c.Status, strings.ReplaceAll(c.Found, "\n", "\n"+indent))
		err = errors.Join(err, failed)
		for _, more := range []struct{ what, text string }{{"then", c.Then}, {"mend", c.Mend}} {
			if more.text == "" {
				continue
			}
			_, failed := fmt.Fprintf(w, "%s%s: %s\n", indent, more.what, strings.ReplaceAll(more.text, "\n", "\n"+indent))
			err = errors.Join(err, failed)
		}
	}
	return err
}
