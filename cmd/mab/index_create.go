// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

type createCommand struct {
	indexWriter
	files     []string
	platforms []platforms.Platform
	// join adds to what the first tag names.
	join, preferIndex, digestFiles bool
}

func newIndexCreate(o *options) *cobra.Command {
	c := &createCommand{indexWriter: indexWriter{options: o}}
	cmd := &cobra.Command{
		Use:   "create [flags] SOURCE…",
		Short: "Make an index of images that exist",
		Long: `Make an index of images that exist, and write it to every -t. SOURCE is an image or index: a reference; a digest (sha256:…) of what is in the
repository of -t; an OCI layout, a directory or a tar (oci-layout://PATH[:TAG|@DIGEST], or a path that starts with / or a dot); or a
descriptor in JSON. Images keep their attestations. Two images for one platform are refused, and an image that is not for the platform that
it is said to be for. What is already in the repository is not moved, what is in its registry is not sent.

With --from-digest-files the arguments are files that builds left, or directories of such: those of --metadata-file or --iidfile, or empty ones
that are named by a digest. --platform says which platforms there must be then, no more and no less.`,
		Example: `  mab index create -t registry.example/app:1.0 registry.example/app:1.0-amd64 registry.example/app:1.0-arm64
  mab index create -t registry.example/app:1.0 --append ./riscv64.tar
  mab index create -t registry.example/app:1.0 --platform linux/amd64,linux/arm64 --from-digest-files ./digests`,
		Args: arguments(0, -1, "any number of SOURCEs"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&c.tags, "tag", "t", nil, "`reference` to write (repeatable)")
	flags.StringArrayVarP(&c.files, "file", "f", nil, "read a source from this `FILE` (repeatable)")
	flags.VarP((*platformList)(&c.platforms), "platform", "p", "take only these `platforms`, in this order (linux/arm64,linux/amd64; repeatable)")
	flags.BoolVar(&c.join, "append", false, "add to what the first -t names")
	flags.BoolVar(&c.preferIndex, "prefer-index", true, "make an index of a single image too, instead of copying it as it is")
	flags.BoolVar(&c.digestFiles, "from-digest-files", false, "the arguments are files with digests, or directories of such")
	c.flags(flags)
	return cmd
}

func (c *createCommand) run(ctx context.Context, args []string) error {
	to, err := c.destination()
	if err != nil {
		return err
	}
	notes, err := c.notes()
	if err != nil {
		return err
	}
	sources, err := c.sources(args)
	if err != nil {
		return err
	}
	registry, err := c.client()
	if err != nil {
		return err
	}
	defer registry.Close()
	base, err := c.base(ctx, registry, to)
	if err != nil {
		return err
	}
	if base != "" {
		sources = append([]string{base}, sources...)
	}
	parts, from, err := registry.Gather(ctx, sources, to.refs)
	if err != nil {
		return asDamage(err)
	}
	for _, part := range parts {
		for _, orphan := range part.Orphans {
			_, _ = fmt.Fprintf(c.std.err, "mab: warning: %s: attestation %s is of an image that is not in the index\n", part.Name, orphan.Digest)
		}
	}
	idx, err := manifestlist.Compose(parts, manifestlist.Composition{
		MergeOptions: notes, Platforms: c.platforms, Exact: c.digestFiles, Sorted: c.digestFiles, Base: base != "", KeepManifest: !c.preferIndex,
	})
	if err != nil {
		return err
	}
	return c.write(ctx, registry, idx, from, to)
}

// sources lists what the index is made of.
func (c *createCommand) sources(args []string) ([]string, error) {
	sources := args
	if c.digestFiles {
		var err error
		if sources, err = manifestlist.ReadDigestFiles(args); err != nil {
			return nil, err
		}
	}
	for _, file := range c.files {
		if _, err := os.Stat(file); err != nil {
			return nil, usage{fmt.Errorf("reading a source: %w", err), "-f names a file with a descriptor, a digest or a reference in it"}
		}
		source, err := manifestlist.ReadSourceFile(file)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	if len(sources) == 0 {
		return nil, usage{errors.New("there is nothing to make the index of"), "name images: mab index create -t REFERENCE SOURCE…"}
	}
	return sources, nil
}

// base is what is added to, if anything is there. The tags must not be moved meanwhile.
func (c *createCommand) base(ctx context.Context, registry *manifestlist.Client, to *destination) (string, error) {
	switch {
	case !c.join:
		return "", nil
	case len(to.refs) == 0:
		return "", usage{errors.New("--append adds to what a reference names, and none is given"), "name it with -t REGISTRY/REPOSITORY:TAG"}
	}
	was, err := registry.Heads(ctx, to.refs)
	if err != nil {
		return "", err
	}
	to.was = was
	base := to.refs[0]
	if was[base] == "" {
		return "", nil
	}
	base.Tag, base.Digest = "", was[base]
	return base.String(), nil
}
