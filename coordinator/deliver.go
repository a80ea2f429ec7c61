// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// deliver merges what the tasks made, and writes it.
func (r *run) deliver(ctx context.Context) (*Result, error) {
	out := &Result{Plan: r.plan}
	tasks := ordered(r.done, func(o *outcome) int { return r.rank(o.task.platforms) })
	var shares []*share
	var images []manifestlist.Image
	for _, o := range tasks {
		if len(o.task.platforms) == 0 {
			continue
		}
		if out.Ref == "" {
			out.Ref = o.task.member.Name + "/" + o.solved.Ref
		}
		if len(r.request.Platforms) == len(o.task.platforms) {
			out.Descriptor = o.solved.Index
		}
		images = append(images, o.images...)
		if o.share != nil {
			shares = append(shares, o.share)
		}
	}
	if len(shares) > 0 {
		if err := r.delivery.join(shares); err != nil {
			return nil, err
		}
	}
	if r.delivery.delivers() {
		if err := r.write(ctx, ordered(images, func(i manifestlist.Image) int { return r.rank([]platforms.Platform{i.Platform}) }), out); err != nil {
			return nil, err
		}
	}
	if err := r.memory.keep(r.plan, tasks, r.madeParts()...); err != nil {
		r.cfg.Note("what this build took is not remembered: " + err.Error())
	}
	return out, r.delivery.commit()
}

// write merges the images, which are in the order of the request, into one index and writes it, the tags last.
func (r *run) write(ctx context.Context, images []manifestlist.Image, out *Result) error {
	d := r.delivery
	index, err := manifestlist.Merge(r.request.Platforms, images, d.merge)
	if err != nil {
		return err
	}
	out.Descriptor, out.Images = index.Descriptor, index.Images
	r.clock.lap("check and merge")
	defer r.clock.lap("write")
	for _, l := range d.layouts {
		if err := r.layout(ctx, manifestlist.BlobDir(d.staging), l, index); err != nil {
			return err
		}
	}
	// Engines come after files, for they may refuse.
	for _, l := range d.layouts {
		id, err := r.load(ctx, manifestlist.BlobDir(d.staging), l, index)
		if err != nil {
			return err
		}
		out.Loaded = cmp.Or(out.Loaded, id)
	}
	if len(d.refs) == 0 {
		return nil
	}
	registry, err := r.registry()
	if err != nil {
		return err
	}
	defer registry.Close()
	var rest manifestlist.Blobs // nil: the nodes have pushed everything but the index
	if d.staging != "" {
		rest = several{manifestlist.BlobDir(d.staging), registry.Repository(d.refs[0])}
	}
	if _, err := registry.Push(ctx, index, d.refs, rest); err != nil {
		return err
	}
	out.Refs = d.refs
	return nil
}

// RefusedError is a result that did not pass the check. Nothing was written.
type RefusedError struct{ err error }

// Error says what the check found.
func (e *RefusedError) Error() string { return fmt.Sprintf("checking the result: %v", e.err) }

// Unwrap gives the finding.
func (e *RefusedError) Unwrap() error { return e.err }

// load loads one output into its engine, if it has one, and returns the image's ID there.
func (r *run) load(ctx context.Context, from manifestlist.BlobDir, l layout, index manifestlist.Index) (id digest.Digest, err error) {
	if l.engine == nil {
		return "", nil
	}
	if !l.engine.HoldsIndexes() {
		if index, err = withoutAttestations(r.request.Platforms, index); err != nil {
			return "", err
		}
	}
	err = r.cfg.Display.Show(ctx, "loading into "+l.engine.String(), func(ctx context.Context, tell solver.Progress) (err error) {
		id, err = l.engine.Load(ctx, index, from, manifestlist.LoadConfig{Names: l.names, Progress: tell})
		return err
	})
	return id, err
}

// layout writes one output that is made of blobs.
func (r *run) layout(ctx context.Context, from manifestlist.BlobDir, l layout, index manifestlist.Index) error {
	if l.engine != nil {
		return nil
	}
	if l.Directory {
		return manifestlist.WriteLayout(ctx, index, from, manifestlist.LayoutConfig{Dir: l.Dest, Names: l.names, Link: true})
	}
	docker := l.Type == outputDocker
	if docker {
		// No engine that reads this form knows attestations; the image is what it would be without them.
		var err error
		if index, err = withoutAttestations(r.request.Platforms, index); err != nil {
			return err
		}
	}
	cfg := manifestlist.ArchiveConfig{File: l.Dest, Docker: docker, Names: l.names}
	if l.Dest == "-" {
		cfg.Writer = r.cfg.Stdout
	}
	return manifestlist.WriteArchive(ctx, index, from, cfg)
}

func withoutAttestations(want []platforms.Platform, index manifestlist.Index) (manifestlist.Index, error) {
	images := slices.Clone(index.Images)
	for i := range images {
		images[i].Attestations = nil
	}
	return manifestlist.Merge(want, images, manifestlist.MergeOptions{})
}

// base names the platforms that a base image lacks, all of the request's at once, together with those it has.
func (r *run) base(ctx context.Context, failure *solver.Failure) error {
	registry, err := manifestlist.New(manifestlist.Config{
		Insecure: r.request.InsecureRegistry, Registries: r.cfg.Attach.Config.Registries,
	})
	if err != nil {
		return failure
	}
	defer registry.Close()
	found, err := registry.Inspect(ctx, failure.Base)
	if err != nil {
		return failure
	}
	out := &BaseError{Base: failure.Base, err: failure}
	for _, image := range found.Images {
		out.Has = append(out.Has, image.Platform)
	}
	for _, p := range r.request.Platforms {
		if _, ok := p.Closest(out.Has); !ok {
			out.Lacks = append(out.Lacks, p)
		}
	}
	if len(out.Lacks) == 0 {
		return failure
	}
	return out
}

// BaseError is a base image that lacks platforms of the request. Nothing was started.
type BaseError struct {
	Base       string
	Lacks, Has []platforms.Platform
	err        error
}

// Error names the base image, what it lacks and what it has.
func (e *BaseError) Error() string {
	return fmt.Sprintf("the base image %s has no %s; it has %s", e.Base, words(e.Lacks), words(e.Has))
}

// Hint says what can be done.
func (e *BaseError) Hint() string {
	return "build only for platforms that it has (--platform), take another base image, or, if the stage only compiles for others, " +
		"let it run on the build platform: FROM --platform=$BUILDPLATFORM"
}

// Unwrap gives the solver's error.
func (e *BaseError) Unwrap() error { return e.err }

func words(list []platforms.Platform) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return strings.Join(out, ", ")
}
