// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/solver"
)

// indexWriter is what the commands that write an index share.
type indexWriter struct {
	*options
	tags, annotations []string
	outputs           outputList
	metadataFile      string
	progress          string
	dryRun, insecure  bool
}

func (w *indexWriter) flags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&w.annotations, "annotation", nil, "`LEVEL:NAME=VALUE` of an annotation; LEVEL is index, or manifest-descriptor[PLATFORM] (repeatable)")
	flags.VarP(&w.outputs, "output", "o", "write to `type=oci,dest=FILE`, or type=oci,tar=false,dest=DIR, instead of a registry; -t are the names in it then")
	flags.StringVar(&w.metadataFile, "metadata-file", "", "write what is known about the result to this `FILE`, as JSON")
	flags.StringVar(&w.progress, "progress", env("BUILDKIT_PROGRESS", "auto"), "how the sending of layers is shown: auto, plain, tty, rawjson, quiet")
	flags.BoolVar(&w.dryRun, "dry-run", false, "print the index instead of writing it")
	flags.BoolVar(&w.insecure, "insecure-registry", false, "read and write by plain HTTP, or with an unknown certificate")
}

// destination is where an index goes.
type destination struct {
	refs   []manifestlist.Reference
	output *coordinator.Output // nil: to the registries of refs
	// was is what refs name, if they must not have been moved meanwhile.
	was manifestlist.Heads
}

// destination reads the flags; it must come before anything is read.
func (w *indexWriter) destination() (*destination, error) {
	refs, err := manifestlist.ParseReferences(w.tags)
	if err != nil {
		return nil, err
	}
	out := &destination{refs: refs}
	switch {
	case len(w.outputs) > 1:
		return nil, usage{errors.New("-o is given several times"), "write one after the other"}
	case len(w.outputs) == 1:
		out.output = &w.outputs[0]
		if out.output.Type != "oci" || len(out.output.Attrs) > 0 {
			return nil, usage{errors.New("an index is written with -o type=oci,dest=FILE alone"), "or to a registry: -t REFERENCE"}
		}
	case len(refs) == 0 && !w.dryRun:
		return nil, usage{errors.New("the index has no reference"), "name it with -t REGISTRY/REPOSITORY:TAG, or see what it would be: --dry-run"}
	}
	return out, writable(w.metadataFile)
}

func (w *indexWriter) client() (*manifestlist.Client, error) {
	config, err := readConfig()
	if err != nil {
		return nil, err
	}
	return manifestlist.New(manifestlist.Config{Insecure: w.insecure, Registries: config.Registries})
}

// notes reads the annotations. Those of the index's own descriptor are in a layout only.
func (w *indexWriter) notes() (manifestlist.MergeOptions, error) {
	notes, err := coordinator.ParseIndexAnnotations(w.annotations)
	if err == nil && len(notes.DescriptorAnnotations) > 0 && len(w.outputs) == 0 {
		return notes, usage{errors.New("the annotations index-descriptor: are written into OCI layouts only"), "write one: -o type=oci,dest=FILE; or say index:"}
	}
	return notes, err
}

// write writes the index and prints what came of it.
func (w *indexWriter) write(ctx context.Context, registry *manifestlist.Client, idx manifestlist.Index, from manifestlist.Blobs, to *destination) error {
	if w.dryRun {
		_, err := w.std.out.Write(idx.Raw)
		return err
	}
	display, err := solver.NewDisplay(w.std.err, w.progress)
	if err != nil {
		return err
	}
	line, where := idx.Descriptor.Digest.String(), ""
	if o := to.output; o == nil {
		ref := to.refs[0]
		ref.Tag, ref.Digest = "", idx.Descriptor.Digest
		line, where = ref.Familiar(), "to "+ref.Name()
	} else if o.Dest == "-" {
		line = ""
	}
	err = shown(ctx, display, "copying layers "+where, from, func(ctx context.Context, from manifestlist.Blobs) error {
		switch o := to.output; {
		case o == nil:
			_, err := registry.PushOver(ctx, idx, to.refs, from, to.was)
			return err
		case o.Directory:
			return manifestlist.WriteLayout(ctx, idx, from, manifestlist.LayoutConfig{Dir: o.Dest, Names: to.refs})
		case o.Dest == "-":
			return manifestlist.WriteArchive(ctx, idx, from, manifestlist.ArchiveConfig{Writer: w.std.out, Names: to.refs})
		default:
			return manifestlist.WriteArchive(ctx, idx, from, manifestlist.ArchiveConfig{File: o.Dest, Names: to.refs})
		}
	})
	if err != nil {
		return asDamage(err)
	}
	if err := w.metadata(idx, to); err != nil {
		return err
	}
	if line != "" {
		_, _ = fmt.Fprintln(w.std.out, line)
	}
	return nil
}

// shown has display show how much of each layer is copied, from the first that is: mostly there is nothing to copy.
func shown(ctx context.Context, display *solver.Display, name string, from manifestlist.Blobs, do func(context.Context, manifestlist.Blobs) error) error {
	type report struct {
		id          string
		done, total int64
	}
	reports := make(chan report)
	var g errgroup.Group
	g.Go(func() error {
		defer close(reports)
		return do(ctx, manifestlist.Watch(from, func(id string, done, total int64) { reports <- report{id, done, total} }))
	})
	first, some := <-reports
	if !some {
		return g.Wait()
	}
	return display.Show(ctx, strings.TrimSpace(name), func(_ context.Context, tell solver.Progress) error {
		tell(first.id, first.done, first.total)
		for r := range reports {
			tell(r.id, r.done, r.total)
		}
		return g.Wait()
	})
}

// metadata writes --metadata-file with the keys of docker buildx.
func (w *indexWriter) metadata(idx manifestlist.Index, to *destination) error {
	if w.metadataFile == "" {
		return nil
	}
	doc := map[string]any{"containerimage.digest": idx.Descriptor.Digest, "containerimage.descriptor": idx.Descriptor}
	if len(to.refs) > 0 {
		names := ""
		for i, ref := range to.refs {
			if i > 0 {
				names += ","
			}
			names += ref.String()
		}
		doc["image.name"] = names
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the metadata: %w", err)
	}
	return writeFile(w.metadataFile, append(text, '\n'))
}

// asDamage marks content that is not what it should be, for the exit code.
func asDamage(err error) error {
	var digests *manifestlist.DigestError
	if errors.As(err, &digests) {
		return damaged{err}
	}
	return err
}
