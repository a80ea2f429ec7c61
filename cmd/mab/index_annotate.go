// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

type annotateCommand struct {
	indexWriter
	remove, variants, versions, features []string
}

func newIndexAnnotate(o *options) *cobra.Command {
	a := &annotateCommand{indexWriter: indexWriter{options: o}}
	cmd := &cobra.Command{
		Use:   "annotate [flags] REFERENCE",
		Short: "Change the annotations of an index",
		Long: `Change the annotations of an index, or what it says of a platform's variant and system. REFERENCE names an index in a registry, and is the
tag that gets the new one, unless -t or -o says where it goes. The images in it stay as they are. A tag that somebody else wrote
meanwhile is not touched. Signatures and other referrers of the old index are not of the new one, which has another digest.`,
		Example: `  mab index annotate registry.example/app:1.0 --annotation index:org.opencontainers.image.version=1.0
  mab index annotate registry.example/app:1.0 --annotation 'manifest-descriptor[linux/arm64]:com.example.tested=pi4'`,
		Args: arguments(1, 1, "one REFERENCE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&a.tags, "tag", "t", nil, "write this `reference` instead (repeatable)")
	flags.StringArrayVar(&a.remove, "remove-annotation", nil, "remove the annotation `LEVEL:NAME` (repeatable)")
	flags.StringArrayVar(&a.variants, "variant", nil, "set the variant of a platform: `PLATFORM=VARIANT` (repeatable)")
	flags.StringArrayVar(&a.versions, "os-version", nil, "set the system's version of a platform: `PLATFORM=VERSION` (repeatable)")
	flags.StringArrayVar(&a.features, "os-features", nil, "set the system's features of a platform: `PLATFORM=FEATURE,…` (repeatable)")
	a.flags(flags)
	return cmd
}

func (a *annotateCommand) run(ctx context.Context, source string) error {
	if err := a.own(source); err != nil {
		return err
	}
	to, err := a.destination()
	if err != nil {
		return err
	}
	changes, err := a.changes()
	if err != nil {
		return err
	}
	registry, err := a.client()
	if err != nil {
		return err
	}
	defer registry.Close()
	if to.output == nil {
		if to.was, err = registry.Heads(ctx, to.refs); err != nil {
			return err
		}
	}
	// What is read is what is written over, whatever a mirror has.
	if ref, err := manifestlist.ParseReference(source); err == nil && to.was[ref] != "" {
		ref.Tag, ref.Digest = "", to.was[ref]
		source = ref.String()
	}
	found, err := registry.Find(ctx, source)
	if err != nil {
		return asDamage(err)
	}
	idx, err := manifestlist.Annotate(found.Root, found.Raw, changes)
	if err != nil {
		return err
	}
	if len(changes.Details) > 0 {
		if err := manifestlist.Agree(ctx, idx, found.Blobs); err != nil {
			return asDamage(err)
		}
	}
	return a.write(ctx, registry, idx, found.Blobs, to)
}

// own makes the tag that is read the one that is written, if none other is given.
func (a *annotateCommand) own(source string) error {
	if len(a.tags)+len(a.outputs) > 0 {
		return nil
	}
	ref, err := manifestlist.ParseReference(source)
	if err != nil {
		return err
	}
	if ref.Digest != "" {
		return usage{fmt.Errorf("%q is a digest, which always names the same", source), "name the tag that gets the annotated index: -t REFERENCE"}
	}
	a.tags = []string{source}
	return nil
}

func (a *annotateCommand) changes() (manifestlist.Changes, error) {
	notes, err := a.notes()
	if err != nil {
		return manifestlist.Changes{}, err
	}
	out := manifestlist.Changes{MergeOptions: notes, Details: map[platforms.Platform]manifestlist.Detail{}}
	if out.Remove, err = coordinator.ParseAnnotationNames(a.remove); err != nil {
		return out, err
	}
	set := func(flag string, list []string, change func(*manifestlist.Detail, string)) {
		for _, entry := range list {
			name, value, ok := strings.Cut(entry, "=")
			p, parseErr := platforms.Parse(named(name))
			if !ok || value == "" {
				parseErr = usage{fmt.Errorf("understanding --%s %q", flag, entry), "write PLATFORM=VALUE"}
			}
			if parseErr != nil {
				err = errors.Join(err, asUsage(parseErr))
				continue
			}
			d := out.Details[p]
			change(&d, value)
			out.Details[p] = d
		}
	}
	set("variant", a.variants, func(d *manifestlist.Detail, value string) { d.Variant = value })
	set("os-version", a.versions, func(d *manifestlist.Detail, value string) { d.OSVersion = value })
	set("os-features", a.features, func(d *manifestlist.Detail, value string) { d.OSFeatures = strings.Split(value, ",") })
	if err != nil {
		return out, err
	}
	if len(a.annotations)+len(a.remove)+len(out.Details) == 0 {
		return out, usage{errors.New("there is nothing to change"), "say what: --annotation index:NAME=VALUE"}
	}
	return out, nil
}

// asUsage marks an error of a flag's value, and keeps its hint.
func asUsage(err error) error {
	var known interface{ Hint() string }
	if errors.As(err, &known) {
		return usage{err, known.Hint()}
	}
	return usage{err, ""}
}
