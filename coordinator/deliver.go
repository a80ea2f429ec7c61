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

// parcel is what the tasks of a request made, put together.
type parcel struct {
	of     *commission
	result *Result
	shares []*share
	// index is zero if no image is delivered.
	index manifestlist.Index
}

// deliver merges what the tasks made for each request, and when all are merged, writes it.
func (r *run) deliver(ctx context.Context) ([]*Result, error) {
	tasks := ordered(r.done, func(o *outcome) int { return r.rank(o.task.goals()) })
	var list []*parcel
	var out []*Result
	for _, c := range r.commissions {
		p, err := r.pack(ctx, c, tasks)
		if err != nil {
			return nil, c.wrap(err)
		}
		list, out = append(list, p), append(out, p.result)
	}
	if slices.ContainsFunc(list, func(p *parcel) bool { return p.of.delivery.delivers() }) {
		r.clock.lap("check and merge")
		defer func() {
			r.clock.lap("write")
		}()
	}
	// What is most likely to fail, and what others see, comes last: for all requests.
	for _, write := range []func(context.Context, *parcel) error{r.write, r.loadAll, r.push} {
		for _, p := range list {
			if err := write(ctx, p); err != nil {
				return nil, p.of.wrap(err)
			}
		}
	}
	if err := r.memory.keep(r.plan, tasks, r.madeParts()...); err != nil {
		r.cfg.Note("what this build took is not remembered: " + err.Error())
	}
	for _, c := range r.commissions {
		if err := c.delivery.commit(); err != nil {
			return nil, c.wrap(err)
		}
	}
	return out, nil
}

// pack merges what the tasks made for a request, the images in its order, into one index.
func (r *run) pack(ctx context.Context, c *commission, tasks []*outcome) (*parcel, error) {
	p := &parcel{of: c, result: &Result{
		Target: c.name, Plan: r.plan, Checked: c.joined(tasks), Warnings: r.warnings(c), built: map[platforms.Platform]built{}, nodes: map[string]platforms.Platform{},
		assisted: r.assisted,
	}}
	out := p.result
	for _, m := range r.members {
		out.nodes[m.Name] = m.Info.Own
	}
	var images []manifestlist.Image
	for _, o := range tasks {
		if o.task.of != c || len(o.task.platforms) == 0 {
			continue
		}
		if out.Ref == "" {
			out.Ref = o.task.member.Name + "/" + o.solved.Ref
		}
		if len(c.request.Platforms) == len(o.task.platforms) {
			out.Descriptor = o.solved.Index
		}
		r.know(ctx, o, out.built)
		images = append(images, o.images...)
		if o.share != nil {
			p.shares = append(p.shares, o.share)
		}
	}
	if !c.delivery.delivers() {
		return p, nil
	}
	images = ordered(images, func(i manifestlist.Image) int { return slices.Index(c.request.Platforms, i.Platform) })
	var err error
	if p.index, err = manifestlist.Merge(c.request.Platforms, images, c.delivery.merge); err != nil {
		return nil, err
	}
	out.Descriptor, out.Images = p.index.Descriptor, p.index.Images
	return p, r.attest(c, &p.index)
}

// write writes the files of a request: what its tasks left in parts, and the index as layouts.
func (r *run) write(ctx context.Context, p *parcel) error {
	d := p.of.delivery
	if len(p.shares) > 0 {
		if err := d.join(p.shares); err != nil {
			return err
		}
	}
	for _, l := range d.layouts {
		if err := r.layout(ctx, p, l); err != nil {
			return err
		}
	}
	return nil
}

// loadAll loads the outputs that are for engines. These come after files, for they may refuse.
func (r *run) loadAll(ctx context.Context, p *parcel) error {
	for _, l := range p.of.delivery.layouts {
		id, err := r.load(ctx, p, l)
		if err != nil {
			return err
		}
		p.result.Loaded = cmp.Or(p.result.Loaded, id)
	}
	return nil
}

// push writes the tags of a request.
func (r *run) push(ctx context.Context, p *parcel) error {
	d := p.of.delivery
	if len(d.refs) == 0 {
		return nil
	}
	registry, err := r.registry(p.of)
	if err != nil {
		return err
	}
	defer registry.Close()
	var rest manifestlist.Blobs // nil: the nodes have pushed everything but the index
	if d.staging != "" {
		rest = several{manifestlist.BlobDir(d.staging), registry.Repository(d.refs[0])}
	}
	referrer, err := r.pushAttested(ctx, registry, p, rest)
	if err != nil {
		return err
	}
	p.result.Referrer = cmp.Or(referrer, p.result.Referrer)
	p.result.Refs = d.refs
	return nil
}

// RefusedError is a result that did not pass the check. Nothing was written.
type RefusedError struct{ err error }

// Error says what the check found.
func (e *RefusedError) Error() string { return fmt.Sprintf("checking the result: %v", e.err) }

// Unwrap gives the finding.
func (e *RefusedError) Unwrap() error { return e.err }

// load loads one output into its engine, if it has one, and returns the image's ID there.
func (r *run) load(ctx context.Context, p *parcel, l layout) (id digest.Digest, err error) {
	if l.engine == nil {
		return "", nil
	}
	index, from := p.index, manifestlist.BlobDir(p.of.delivery.staging)
	index.Referrer = nil
	if !l.engine.HoldsIndexes() {
		if index, err = withoutAttestations(p.of.request.Platforms, index); err != nil {
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
func (r *run) layout(ctx context.Context, p *parcel, l layout) error {
	if l.engine != nil {
		return nil
	}
	index, from := p.index, manifestlist.BlobDir(p.of.delivery.staging)
	if !l.Referrers {
		index.Referrer = nil
	} else if index.Referrer != nil {
		p.result.Referrer = index.Referrer.Descriptor.Digest
	}
	if l.Directory {
		return manifestlist.WriteLayout(ctx, index, from, manifestlist.LayoutConfig{Dir: l.Dest, Names: l.names, Link: true})
	}
	docker := l.Type == outputDocker
	if docker {
		// No engine that reads this form knows attestations; the image is what it would be without them.
		var err error
		if index, err = withoutAttestations(p.of.request.Platforms, index); err != nil {
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

// base names the platforms that a base image lacks, all of its request's at once, together with those it has.
func (r *run) base(ctx context.Context, of *commission, failure *solver.Failure) error {
	registry, err := manifestlist.New(manifestlist.Config{
		Insecure: of.request.InsecureRegistry, Registries: r.cfg.Attach.Config.Registries,
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
	for _, p := range of.request.Platforms {
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

func words[T fmt.Stringer](list []T) string {
	out := make([]string, len(list))
	for i, thing := range list {
		out[i] = thing.String()
	}
	return strings.Join(out, ", ")
}
