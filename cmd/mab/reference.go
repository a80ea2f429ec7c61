// SPDX-License-Identifier: Apache-2.0

//go:build reference

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

const generated = "<!-- Written by make generate from the commands in cmd/mab. -->\n\n"

// reference is the command that writes down what the other commands tell of themselves.
type reference struct{ markdown, man, completion string }

// addReference adds the command that make uses. No release has it.
func addReference(root *cobra.Command) {
	r := &reference{}
	cmd := &cobra.Command{
		Use:    "reference [flags]",
		Short:  "Write reference pages and completions",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(*cobra.Command, []string) error { return r.run() },
	}
	cmd.Flags().StringVar(&r.markdown, "markdown", "", "write a page for each command into this `DIR`")
	cmd.Flags().StringVar(&r.man, "man", "", "write man pages into this `DIR`")
	cmd.Flags().StringVar(&r.completion, "completion", "", "write completions for bash, zsh and fish into this `DIR`")
	root.AddCommand(cmd)
}

func (r *reference) run() error {
	// Defaults of flags come from the environment.
	os.Clearenv()
	root := newRoot(streams{})
	root.InitDefaultHelpCmd()
	root.InitDefaultVersionFlag()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	for _, output := range []struct {
		dir, stale string
		write      func(*cobra.Command, string) error
	}{
		{r.markdown, "mab*.md", writeMarkdown},
		{r.man, "mab*.1", writeManPages},
		{r.completion, "*mab*", writeCompletions},
	} {
		if output.dir == "" {
			continue
		}
		old, err := filepath.Glob(filepath.Join(output.dir, output.stale))
		for _, path := range old {
			err = errors.Join(err, os.Remove(path))
		}
		if err := errors.Join(err, os.MkdirAll(output.dir, 0o755)); err != nil {
			return err
		}
		if err := output.write(root, output.dir); err != nil {
			return err
		}
	}
	return nil
}

func writeMarkdown(root *cobra.Command, dir string) error {
	return doc.GenMarkdownTreeCustom(root, dir, func(string) string { return generated }, func(link string) string { return link })
}

// writeManPages writes pages without a date: they are the same whenever they are made.
func writeManPages(cmd *cobra.Command, dir string) error {
	var page bytes.Buffer
	if err := doc.GenMan(cmd, &doc.GenManHeader{Section: "1", Date: &time.Time{}, Source: "mab " + version, Manual: "mab"}, &page); err != nil {
		return err
	}
	none := (&time.Time{}).Format("Jan 2006")
	path := filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1")
	if err := os.WriteFile(path, bytes.Replace(page.Bytes(), []byte(none), nil, 1), 0o644); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		if err := writeManPages(c, dir); err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	return nil
}

func writeCompletions(root *cobra.Command, dir string) error {
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(dir, "mab.bash"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_mab")),
		root.GenFishCompletionFile(filepath.Join(dir, "mab.fish"), true),
	)
}
