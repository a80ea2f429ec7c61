// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
)

type verifyCommand struct {
	*options
	check          contents.Config
	mode           verifyMode
	json, insecure bool
}

func newIndexVerify(o *options) *cobra.Command {
	v := &verifyCommand{options: o, mode: verifyStrict}
	cmd := &cobra.Command{
		Use:   "verify [flags] REFERENCE",
		Short: "Check every blob and every program of an image, for all its platforms",
		Long: `Check every blob and every program of an image, for all its platforms: digests, configs, and that each ELF file of the final file
systems is one that the platform runs. REFERENCE names an image in a registry, or an OCI layout, a directory or a tar:
oci-layout://PATH[:TAG|@DIGEST], or a path that starts with / or a dot. The exit code is 5 if something is wrong.`,
		Example: `  mab index verify registry.example/app:1.0
  mab index verify --verify-exempt '/opt/images/**' ./app.tar`,
		Args: arguments(1, 1, "one REFERENCE"),
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.Var(&v.mode, "verify", "`strict|warn`: whether programs of other platforms are an error")
	flags.StringArrayVar(&v.check.Exempt, "verify-exempt", nil, "`GLOB` of paths that may hold programs of any platform, as in .dockerignore (repeatable)")
	flags.BoolVar(&v.json, "json", false, "print JSON")
	flags.BoolVar(&v.insecure, "insecure-registry", false, "read by plain HTTP or from an unknown certificate")
	return cmd
}

// verifyMode is the flag --verify.
type verifyMode string

const (
	verifyStrict verifyMode = "strict"
	verifyWarn   verifyMode = "warn"
)

func (m *verifyMode) String() string { return string(*m) }
func (m *verifyMode) Type() string   { return "mode" }

func (m *verifyMode) Set(s string) error {
	switch mode := verifyMode(s); mode {
	case verifyStrict, verifyWarn:
		*m = mode
		return nil
	}
	return fmt.Errorf("it is strict or warn, not %q", s)
}

// damaged is an image whose index is not what it should be.
type damaged struct{ error }

func (d damaged) Unwrap() error { return d.error }
func (damaged) Refused() bool   { return true }

func (v *verifyCommand) run(cmd *cobra.Command, source string) error {
	checker, err := contents.New(v.check)
	if err != nil {
		return usage{err, "globs are as in .dockerignore: /opt/tool, /opt/**/*.so; quote them for the shell"}
	}
	config, err := readConfig()
	if err != nil {
		return err
	}
	registry, err := manifestlist.New(manifestlist.Config{Insecure: v.insecure, Registries: config.Registries})
	if err != nil {
		return err
	}
	defer registry.Close()
	found, err := registry.Find(cmd.Context(), source)
	var digests *manifestlist.DigestError
	if errors.As(err, &digests) {
		return damaged{err}
	}
	if err != nil {
		return err
	}
	report, err := checker.Check(cmd.Context(), found.Blobs, found.Root, found.Raw)
	if err != nil {
		return err
	}
	return v.tell(found, report)
}

// tell prints what was found, and returns it as an error if it is one.
func (v *verifyCommand) tell(found *manifestlist.Source, report *contents.Report) error {
	if v.json {
		if err := printJSON(v.std.out, report); err != nil {
			return err
		}
	} else {
		_, _ = fmt.Fprintf(v.std.out, "%s\n%s\n\n", found.Name, found.Root.Digest)
		if err := printVerified(v.std.out, report); err != nil {
			return err
		}
		v.warn(report)
	}
	err := report.Err(v.mode == verifyStrict)
	if err != nil {
		return err
	}
	if wrong := report.Err(true); wrong != nil {
		_, _ = fmt.Fprintf(v.std.err, "mab: warning: %v\n", wrong)
	}
	return nil
}

// tellChecked tells of what is wrong in an image that was built, and is no error.
func (o *options) tellChecked(report *contents.Report) {
	o.warn(report)
	if report == nil {
		return
	}
	if wrong := report.Err(true); wrong != nil {
		printRefused(o.std.err, report)
		_, _ = fmt.Fprintf(o.std.err, "mab: warning: %v\n", wrong)
	}
}

// printRefused prints what is wrong in an image that was built.
func printRefused(w io.Writer, report *contents.Report) {
	var table bytes.Buffer
	if printFindings(&table, report, "") == nil {
		_, _ = fmt.Fprintln(w, strings.TrimSpace(table.String()))
	}
}

// warn tells of what is no error.
func (o *options) warn(report *contents.Report) {
	if report == nil {
		return
	}
	for _, image := range report.Images {
		for _, text := range image.Warnings {
			_, _ = fmt.Fprintf(o.std.err, "mab: warning: %s: %s\n", image.Platform, printable(text))
		}
		if image.Unchecked != "" {
			_, _ = fmt.Fprintf(o.std.err, "mab: warning: %s: programs are not checked: %s\n", image.Platform, printable(image.Unchecked))
		}
	}
	for _, text := range report.Warnings {
		_, _ = fmt.Fprintf(o.std.err, "mab: warning: %s\n", printable(text))
	}
}

func printVerified(w io.Writer, report *contents.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "PLATFORM\tLAYERS\tFILES\tPROGRAMS\tEXEMPTED\tBYTES\tRESULT")
	for _, image := range report.Images {
		exempted, result := 0, "right"
		for _, e := range image.Exempted {
			exempted += e.Files
		}
		if n := len(image.Findings); n > 0 {
			result = fmt.Sprintf("%d wrong", n)
		} else if image.Unchecked != "" {
			result = "unchecked"
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\t%s\n", image.Platform, image.Layers, image.Files, image.Programs, exempted,
			units.HumanSize(float64(image.Bytes)), result)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := printAllowed(w, report); err != nil {
		return err
	}
	return printFindings(w, report, ": --json")
}

// printAllowed lists the programs of other platforms that may be there.
func printAllowed(w io.Writer, report *contents.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "\nPLATFORM\tALLOWED\tFILES\tFIRST\tWHY\n"
	row := func(values ...any) {
		_, _ = fmt.Fprintf(table, head+"%s\t%s\t%d\t%s\t%s\n", values...)
		head = ""
	}
	for _, image := range report.Images {
		for _, o := range image.Others {
			row(image.Platform, o.Platform, o.Files, cell(o.First), fmt.Sprintf("runs on every machine of %s", image.Platform))
		}
		for _, e := range image.Exempted {
			row(image.Platform, e.Rule, e.Files, cell(e.First), e.Reason)
		}
	}
	return table.Flush()
}

// mostFindings bounds how many findings of a platform are shown.
const mostFindings = 50

// printFindings prints a table of what is wrong; elsewhere is where those are that it leaves out.
func printFindings(w io.Writer, report *contents.Report, elsewhere string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "\nPLATFORM\tPATH\tFOUND\tEXPECTED\tWRITTEN BY\n"
	show := func(platform string, findings []contents.Finding, more int) {
		for _, f := range findings[:min(len(findings), mostFindings)] {
			_, _ = fmt.Fprintf(table, head+"%s\t%s\t%s\t%s\t%s\n", platform, cell(f.Path), cell(f.Found), cell(f.Expected), writtenBy(f))
			head = ""
		}
		if more += max(0, len(findings)-mostFindings); more > 0 {
			_, _ = fmt.Fprintf(table, "%s\t(and %d more%s)\n", platform, more, elsewhere)
		}
	}
	for _, image := range report.Images {
		show(image.Platform.String(), image.Findings, image.MoreFindings)
	}
	show("-", report.Findings, 0)
	return table.Flush()
}

// writtenBy names a layer, or a blob that is none.
func writtenBy(f contents.Finding) string {
	const short, longest = 12, 100
	blob := string(f.Blob)
	if _, hex, ok := strings.Cut(blob, ":"); ok {
		blob = hex[:min(len(hex), short)]
	}
	if f.Layer == 0 {
		return cell(blob)
	}
	step := strings.Join(strings.Fields(f.CreatedBy), " ")
	if len(step) > longest {
		step = strings.ToValidUTF8(step[:longest], "") + "…"
	}
	if f.Location != "" {
		blob += ", " + f.Location
	}
	return cell(strings.TrimSuffix(fmt.Sprintf("layer %d (%s): %s", f.Layer, blob, step), ": "))
}

// cell is a text of an image as it may stand in a table.
func cell(text string) string {
	return dash(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, printable(text)))
}
