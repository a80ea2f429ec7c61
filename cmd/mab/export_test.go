// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/bake"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/solver"
)

// Report is report.
func Report(w io.Writer, err error) int { return report(w, err) }

// NewUsage makes an error in how the program was called.
func NewUsage(err error, hint string) error { return usage{err, hint} }

// NewEnded makes the error of a solver that ended by itself.
func NewEnded(code int) error { return ended{code} }

// Run is run.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return run(ctx, args, streams{nil, stdout, stderr})
}

// RequestFlags is requestFlags.
func RequestFlags(flags *pflag.FlagSet, r *coordinator.Request) { requestFlags(flags, r) }

// BuildFlags are all flags of mab build but those of mab itself.
func BuildFlags() *pflag.FlagSet { return newBuild(&options{}).Flags() }

// WriteFile is writeFile.
func WriteFile(path string, content []byte) error { return writeFile(path, content) }

// Writable is writable.
func Writable(path string) error { return writable(path) }

// PrintPlan is printPlan.
func PrintPlan(w io.Writer, plan *coordinator.Plan) { printPlan(w, plan) }

// PrintIndex is printIndex.
func PrintIndex(w io.Writer, found *manifestlist.Inspection) error { return printIndex(w, found) }

// PrintSurvey is printSurvey.
func PrintSurvey(w io.Writer, survey []emulation.Support, asJSON bool) error {
	return printSurvey(w, survey, asJSON)
}

// Warning formats a message of BuildKit's. A nil inner is that of a build.
func Warning(inner logrus.Formatter, message string) ([]byte, error) {
	return warnings{inner}.Format(&logrus.Entry{Message: message})
}

// ServeListening is what mab serve with these flags listens on, of a config that says what from says.
func ServeListening(from solver.Listening, args ...string) (solver.Listening, error) {
	s := &serveCommand{}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	s.serveFlags(flags)
	if err := flags.Parse(args); err != nil {
		return solver.Listening{}, err
	}
	return s.listening(from)
}

// PrintNodes is printNodes.
func PrintNodes(w io.Writer, found []coordinator.Found) error {
	return printNodes(w, nodeReports(found))
}

// PrintNode is printNode.
func PrintNode(w io.Writer, found coordinator.Found) error { return printNode(w, newNodeReport(found)) }

// PrintNodeChecks prints what mab nodes check does, and returns its error.
func PrintNodeChecks(w io.Writer, found []coordinator.Found) error {
	reports := nodeReports(found)
	return errors.Join(printNodeChecks(w, reports), sick(reports))
}

// NodeJSON is what --json has of a node.
func NodeJSON(found coordinator.Found) ([]byte, error) { return json.Marshal(newNodeReport(found)) }

// Note is note.
func Note(w io.Writer, text string) error {
	(&options{std: streams{nil, w, w}}).note("%s", text)
	return nil
}

// BakeFlags is bakeFlags.
func BakeFlags(flags *pflag.FlagSet, q *bake.Query) { bakeFlags(flags, q) }

// OfferBaked is what a shell is offered as an argument of mab bake, of these files.
func OfferBaked(ctx context.Context, files []string, begun string) []string {
	b := &bakeCommand{query: bake.Query{Files: files}}
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	out, _ := b.offer(cmd, nil, begun)
	return out
}

// PrintBaked is what mab bake --list prints.
func PrintBaked(w io.Writer, list string, d *bake.Definition) error {
	form, err := parseListForm(list)
	if err != nil {
		return err
	}
	return form.print(w, d)
}
