// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/bake"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/solver"
)

type bakeCommand struct {
	*options
	query bake.Query
	// base is what every target has from the command line.
	base         coordinator.Request
	farm         nodeOptions
	progress     string
	metadataFile string
	print        bool
	list         string
	plan, json   bool
	check        bool
}

func newBake(o *options) *cobra.Command {
	b := &bakeCommand{options: o}
	cmd := &cobra.Command{
		Use:   "bake [flags] [TARGET...]",
		Short: "Build the targets of a bake or compose file",
		Long: `Build the targets of a bake or compose file, as docker buildx bake does. Without -f, the files docker-bake.hcl, docker-bake.json, their
docker-bake.override.hcl and docker-bake.override.json, and compose files are read, those that there are. A TARGET is a target, a group or a
pattern such as 'app-*'; without one, the group or target default is built.

Standard output gets the results alone, one line for each target: NAME REFERENCE@DIGEST of what was pushed, else NAME DIGEST.`,
		Example: `  mab bake --push
  mab bake --set '*.platform=linux/amd64,linux/arm64' app
  mab bake --print`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: b.offer,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.query.Targets = args
			return b.run(cmd)
		},
	}
	flags := cmd.Flags()
	bakeFlags(flags, &b.query)
	ownFlags(flags, &b.base)
	checkFlags(flags, &b.base)
	nodeFlags(flags, &b.farm)
	ignoredBakeFlags(flags)
	flags.BoolVar(&b.base.KeepGoing, "keep-going", false, "when a platform fails, finish the others and report all failures; nothing is written then")
	flags.StringVar(&b.progress, "progress", env("BUILDKIT_PROGRESS", "auto"), "how progress is shown: auto, plain, tty, rawjson, quiet")
	flags.StringVar(&b.metadataFile, "metadata-file", "", "write what is known about the results to this `FILE`, as JSON, by target")
	flags.BoolVar(&b.print, "print", false, "print the targets as JSON, with all that they inherit and all overrides, and build nothing")
	flags.StringVar(&b.list, "list", "", "list `targets|variables` and build nothing; type=targets|variables,format=json lists as JSON")
	flags.BoolVar(&b.plan, "plan", false, "say what would be done, and why, as mab plan does, and build nothing")
	flags.BoolVar(&b.json, "json", false, "with --plan: print the plan as JSON")
	flags.BoolVar(&b.check, "check", false, "short for --call=check")
	_ = flags.MarkHidden("check")
	return cmd
}

// bakeFlags binds the flags of docker buildx bake to the query. Names and meanings are docker's.
func bakeFlags(flags *pflag.FlagSet, q *bake.Query) {
	flags.StringArrayVarP(&q.Files, "file", "f", nil, "a definition: a `FILE`, or - for standard input (repeatable; env BUILDX_BAKE_FILE)")
	flags.StringArrayVar(&q.Sets, "set", nil, "override `TARGET.KEY[+]=VALUE`; TARGET may be a pattern (repeatable)")
	flags.StringArrayVar(&q.Vars, "var", nil, "`NAME=VALUE` of a variable of the file (repeatable)")
	flags.StringArrayVar(&q.Allow, "allow", nil,
		"grant what a definition may not do by itself: `fs.read=DIR`, fs.write=DIR, fs=DIR, ssh, network.host, security.insecure, device[=NAME], buildx.local.delete (repeatable)")
	flags.BoolVar(&q.Push, "push", false, "push to the registry: short for --set '*.output=type=registry', where a target has no other output")
	flags.BoolVar(&q.Load, "load", false, "load into Docker or podman: short for --set '*.output=type=docker', where a target has no other output")
	flags.VarPF(optionalBool{&q.NoCache}, "no-cache", "", "run every step, whatever the cache has").NoOptDefVal = "true"
	flags.VarPF(optionalBool{&q.Pull}, "pull", "", "look for new versions of base images").NoOptDefVal = "true"
	flags.StringVar(&q.Provenance, "provenance", "", "provenance of the images: `true|false|mode=min|mode=max`")
	flags.StringVar(&q.SBOM, "sbom", "", "bill of materials of the images: `true|false|generator=IMAGE`")
	flags.StringVar(&q.Call, "call", "build", "the `method`; mab has build alone")
	_ = flags.MarkHidden("call")
}

// ignoredBakeFlags takes those that change nothing here, as ignoredFlags does for mab build.
func ignoredBakeFlags(flags *pflag.FlagSet) {
	build := pflag.NewFlagSet("", pflag.ContinueOnError)
	ignoredFlags(build)
	for _, name := range []string{"builder", "debug"} {
		flags.AddFlag(build.Lookup(name))
	}
}

func (b *bakeCommand) run(cmd *cobra.Command) error {
	b.query.Stdin = b.std.in
	if b.check {
		b.query.Call = "check"
	}
	form, err := parseListForm(b.list)
	if err != nil {
		return err
	}
	if err := b.oneAnswer(); err != nil {
		return err
	}
	definition, err := new(bake.Reader).Read(cmd.Context(), b.query)
	if err != nil {
		return err
	}
	if b.list != "" {
		return form.print(b.std.out, definition)
	}
	selection, err := definition.Select()
	if err != nil {
		return err
	}
	if b.print {
		text, err := selection.JSON()
		if err == nil {
			_, err = fmt.Fprintf(b.std.out, "%s\n", text)
		}
		return err
	}
	if err := fill(cmd.Flags(), &b.base, b.metadataFile); err != nil {
		return err
	}
	requests, notes, err := selection.Requests(b.base)
	if err != nil {
		return err
	}
	if !b.quiet() {
		b.tellIgnored(cmd.Flags())
		for _, text := range notes {
			b.note("%s", text)
		}
	}
	if b.plan {
		return b.tellPlan(cmd.Context(), requests)
	}
	results, err := b.build(cmd.Context(), requests)
	if err != nil {
		return err
	}
	return b.tell(selection, requests, results)
}

// oneAnswer refuses flags that each want something else instead of a build.
func (b *bakeCommand) oneAnswer() error {
	var wanted []string
	for _, f := range []struct {
		flag string
		on   bool
	}{{"--list", b.list != ""}, {"--print", b.print}, {"--plan", b.plan}} {
		if f.on {
			wanted = append(wanted, f.flag)
		}
	}
	switch {
	case len(wanted) > 1:
		return usage{errors.New(strings.Join(wanted, " together with ")), "choose one"}
	case b.json && !b.plan:
		return usage{errors.New("--json without --plan"), "--print and --list type=targets,format=json print JSON, too"}
	}
	return nil
}

func (b *bakeCommand) tellPlan(ctx context.Context, requests []coordinator.Named) error {
	c, err := b.coordinator(&b.farm, nil, func(text string) { b.note("%s", text) })
	if err != nil {
		return err
	}
	plan, err := c.PlanAll(ctx, requests)
	if err != nil {
		return err
	}
	if b.json {
		return printJSON(b.std.out, plan)
	}
	printPlan(b.std.out, plan)
	return nil
}

func (b *bakeCommand) quiet() bool { return b.progress == "quiet" || b.progress == "none" }

func (b *bakeCommand) build(ctx context.Context, requests []coordinator.Named) ([]*coordinator.Result, error) {
	display, err := solver.NewDisplay(b.std.err, b.progress)
	if err != nil {
		return nil, err
	}
	if err := writable(b.metadataFile); err != nil {
		return nil, err
	}
	var notes []string
	c, err := b.coordinator(&b.farm, display, func(text string) { notes = append(notes, text) })
	if err != nil {
		return nil, err
	}
	results, err := c.BuildAll(ctx, requests)
	// Not before: on a terminal the display draws over lines that are not its own.
	for _, text := range notes {
		if !b.quiet() {
			b.note("%s", text)
		}
	}
	return results, err
}

// tell writes the results where the user asked for them.
func (b *bakeCommand) tell(s *bake.Selection, requests []coordinator.Named, results []*coordinator.Result) error {
	if b.metadataFile != "" {
		text, err := bakeMetadata(requests, results)
		if err != nil {
			return err
		}
		if err := writeFile(b.metadataFile, append(text, '\n')); err != nil {
			return err
		}
	}
	var lines, cached []string
	toStdout := false
	for i := range requests {
		n := &requests[i]
		if !b.quiet() {
			b.tellChecked(results[i].Checked)
		}
		if s.Linked(n.Name) {
			continue
		}
		toStdout = toStdout || n.UsesStdout()
		if len(n.Outputs) == 0 {
			cached = append(cached, n.Name)
		}
		if line := results[i].String(); line != "" {
			lines = append(lines, n.Name+" "+line)
		}
	}
	if len(cached) > 0 && !b.quiet() {
		b.note("in the cache only: %s; to get results out: --push, --load, or output = [\"type=oci,dest=FILE\"] in the definition", strings.Join(cached, ", "))
	}
	for _, line := range lines {
		if !toStdout {
			_, _ = fmt.Fprintln(b.std.out, line)
		}
	}
	return nil
}

// bakeMetadata is the content of --metadata-file: that of mab build, by target.
func bakeMetadata(requests []coordinator.Named, results []*coordinator.Result) ([]byte, error) {
	doc := map[string]json.RawMessage{}
	for i := range requests {
		text, err := results[i].Metadata()
		if err != nil {
			return nil, err
		}
		doc[requests[i].Name] = text
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the metadata: %w", err)
	}
	return text, nil
}

// offer offers targets and groups as arguments. Files that cannot be read offer nothing.
func (b *bakeCommand) offer(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	query := b.query
	query.Stdin = strings.NewReader("")
	definition, err := new(bake.Reader).Read(cmd.Context(), query)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, l := range definition.List() {
		switch {
		case !strings.HasPrefix(l.Name, begun):
		case l.Description == "":
			out = append(out, l.Name)
		default:
			out = append(out, cobra.CompletionWithDesc(l.Name, l.Description))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
