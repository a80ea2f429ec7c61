// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// delivery is what becomes of a build's result: what the solver leaves behind, and what is merged and written from it. All outputs
// of the image are made of one export, so that they are the same image.
type delivery struct {
	exports []solver.Export
	// tags are the references that every output gets.
	tags []manifestlist.Reference
	// image are the solver's settings for the image; nil: no output is made of it.
	image map[string]string
	// refs are what is pushed. Empty: nothing is.
	refs []manifestlist.Reference
	// layouts are the outputs made of blobs; staging is the directory that the solver fills with them.
	layouts []layout
	staging string
	// mu guards staging while tasks run: without layouts, the first whose node does not reach the registry makes it.
	mu sync.Mutex
	// archives are tar outputs that get their names when the build is done.
	archives []*archive
	merge    manifestlist.MergeOptions
	// insecure allows plain HTTP and unknown certificates.
	insecure bool
}

// layout is an OCI layout, as a directory or an archive, or loaded into an engine, with the names that are written into it.
type layout struct {
	Output
	names []manifestlist.Reference
	// engine is where it is loaded. Nil: it is written.
	engine *manifestlist.Engine
}

// insecureAttr is BuildKit's setting of an image output that allows plain HTTP and unknown certificates.
const insecureAttr = "registry.insecure"

// engineAttr is buildx's setting of a docker output that names the docker context of the engine.
const engineAttr = "context"

// newDelivery checks the outputs of a request, finds the engines that they are loaded into, and makes the staging directory if one is
// needed. A request without platforms that is only loaded gets the engine's own. The caller closes it.
func newDelivery(ctx context.Context, r *Request, stdout io.Writer) (*delivery, error) {
	notes, err := parseAnnotations(r.Annotations)
	if err != nil {
		return nil, err
	}
	d := &delivery{merge: notes.merge, insecure: r.InsecureRegistry}
	if d.tags, err = manifestlist.ParseReferences(r.Tags); err != nil {
		return nil, usage{err}
	}
	outputs := slices.Clone(r.Outputs)
	if r.Push && !slices.ContainsFunc(outputs, func(o Output) bool { return o.Type == outputImage }) {
		outputs = append(outputs, Output{Type: outputImage, Attrs: settings(outputs)})
	}
	if r.Load && !slices.ContainsFunc(outputs, func(o Output) bool { return o.load() }) {
		outputs = append(outputs, Output{Type: outputDocker, Attrs: settings(outputs)})
	}
	for _, o := range outputs {
		err := o.checkDelete(r.Allow)
		if err == nil {
			err = d.add(o, r.Push, stdout)
		}
		if err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	if err := d.engines(ctx, r, len(outputs)); err != nil {
		return nil, errors.Join(err, d.close())
	}
	if d.image == nil {
		return d, nil
	}
	maps.Copy(d.image, notes.attrs)
	if err := d.export(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// engines opens the engines of a request with n outputs, and finds what they and docker archives cannot hold.
func (d *delivery) engines(ctx context.Context, r *Request, n int) error {
	for i := range d.layouts {
		l := &d.layouts[i]
		if l.load() {
			var err error
			if l.engine, err = manifestlist.OpenEngine(ctx, manifestlist.EngineConfig{Context: l.Attrs[engineAttr]}); err != nil {
				return err
			}
			if own := l.engine.Platform(); n == 1 && len(r.Platforms) == 0 && own != (platforms.Platform{}) {
				r.Platforms = []platforms.Platform{own}
			}
		}
		if l.Type == outputDocker && len(r.Platforms) > 1 && (l.engine == nil || !l.engine.HoldsIndexes()) {
			return &platformsError{len(r.Platforms), l.engine}
		}
	}
	return nil
}

// settings are those of the first layout, for a push or a load that has none of its own: all are of the same image.
func settings(outputs []Output) map[string]string {
	for _, o := range outputs {
		if o.layout() {
			attrs := maps.Clone(o.Attrs)
			delete(attrs, "name")
			delete(attrs, engineAttr)
			return attrs
		}
	}
	return nil
}

func (d *delivery) add(o Output, push bool, stdout io.Writer) error {
	switch o.Type {
	case outputCacheOnly:
		return nil
	case outputLocal:
		if err := creatable(o.Dest); err != nil {
			return err
		}
		d.exports = append(d.exports, solver.Export{Type: o.Type, Attrs: o.Attrs, Dir: o.Dest})
		return nil
	case outputTar:
		w, err := d.tar(o.Dest, stdout)
		if err != nil {
			return err
		}
		// The solver closes its writer on failure too, so closing cannot mean success.
		open := func() (io.WriteCloser, error) { return keepOpen{w}, nil }
		d.exports = append(d.exports, solver.Export{Type: o.Type, Attrs: o.Attrs, Tar: open})
		return nil
	}
	return d.addImage(o, push)
}

// addImage adds an output that is made of the image.
func (d *delivery) addImage(o Output, push bool) error {
	attrs := map[string]string{}
	for name, value := range o.Attrs {
		if !slices.Contains([]string{"name", "push", insecureAttr, engineAttr, byDigestAttr, "name-canonical"}, name) {
			attrs[name] = value
		}
	}
	if d.image != nil && !maps.Equal(d.image, attrs) {
		return usage{errors.New("understanding --output: several outputs of the image have different settings; build them one after the other")}
	}
	d.image = attrs
	names, err := d.named(o)
	if err != nil {
		return err
	}
	switch {
	case o.layout():
		d.layouts = append(d.layouts, layout{Output: o, names: names})
	case o.push() || push && o.Type == outputImage:
		if len(names) == 0 {
			return &noTagError{}
		}
		d.refs = appendNew(d.refs, untagged(o, names))
		insecure, _ := strconv.ParseBool(o.Attrs[insecureAttr])
		d.insecure = d.insecure || insecure
	}
	return nil
}

// named returns the references of one output: those of the request, then its own.
func (d *delivery) named(o Output) ([]manifestlist.Reference, error) {
	name := o.Attrs["name"]
	if name == "" {
		return slices.Clone(d.tags), nil
	}
	more, err := manifestlist.ParseReferences(strings.Split(name, ","))
	if err != nil {
		return nil, usage{err}
	}
	return appendNew(slices.Clone(d.tags), more), nil
}

// appendNew appends what is not yet there.
func appendNew(list, more []manifestlist.Reference) []manifestlist.Reference {
	for _, ref := range more {
		if !slices.Contains(list, ref) {
			list = append(list, ref)
		}
	}
	return list
}

// export chooses how the solver hands the image over: where layouts are wanted, as blobs here, of which the registry gets its
// share too; else by pushing it by digest. The tags come last in both cases, when the index is merged.
func (d *delivery) export() error {
	e := solver.Export{Type: outputImage, Attrs: d.image}
	switch {
	case len(d.layouts) > 0:
		if err := d.stage(); err != nil {
			return err
		}
		e.Type, e.Blobs = outputOCI, d.staging
		d.image["tar"] = "false"
		names := d.refs
		for _, l := range d.layouts {
			names = appendNew(names, l.names)
		}
		// Attestations name their subject by it.
		if len(names) > 0 {
			d.image["name"] = joined(names)
		}
	case len(d.refs) > 0:
		var repos []string
		for _, ref := range d.refs {
			if !slices.Contains(repos, ref.Name()) {
				repos = append(repos, ref.Name())
			}
		}
		d.image["push"], d.image["push-by-digest"], d.image["name"] = "true", "true", strings.Join(repos, ",")
		for _, ref := range d.refs {
			e.Names = append(e.Names, ref.String())
		}
		if d.insecure {
			d.image[insecureAttr] = "true"
		}
	}
	d.exports = append(d.exports, e)
	return nil
}

// stage makes the staging directory beside the first layout, so that blobs can become the layout's without being copied.
func (d *delivery) stage() error {
	near := "" // that of temporary files
	for _, l := range d.layouts {
		if l.Dest != "-" && l.Dest != "" {
			near = filepath.Dir(l.Dest)
			break
		}
	}
	dir, err := os.MkdirTemp(near, ".mab-staging-")
	if err != nil {
		return fmt.Errorf("making a directory for the image's blobs: %w", err)
	}
	d.staging = dir
	return nil
}

// close removes what the delivery made for itself, and archives that were not committed.
func (d *delivery) close() error {
	var errs []error
	for _, a := range d.archives {
		errs = append(errs, a.discard())
	}
	for _, l := range d.layouts {
		if l.engine != nil {
			l.engine.Close()
		}
	}
	if d.staging != "" {
		errs = append(errs, os.RemoveAll(d.staging))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing temporary files: %w", err)
	}
	return nil
}

// commit gives the archives their names.
func (d *delivery) commit() error {
	for _, a := range d.archives {
		if err := a.commit(); err != nil {
			return err
		}
	}
	return nil
}

// delivers reports whether something is to be merged and written.
func (d *delivery) delivers() bool { return len(d.refs) > 0 || len(d.layouts) > 0 }

// attested are the names that the index's own provenance tells; nil: nobody gets it.
func (d *delivery) attested() []manifestlist.Reference {
	names := slices.Clone(d.refs)
	for _, l := range d.layouts {
		if l.Referrers {
			names = appendNew(append([]manifestlist.Reference{}, names...), l.names)
		}
	}
	return names
}

// repeatable reports whether a solve may write again what it has written in part.
func (d *delivery) repeatable() bool {
	return !slices.ContainsFunc(d.exports, func(e solver.Export) bool { return e.Tar != nil })
}

func joined(refs []manifestlist.Reference) string {
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = ref.String()
	}
	return strings.Join(names, ",")
}

// usage marks an error as the user's, for the exit code.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }
func (u usage) Usage() bool   { return true }

type noTagError struct{}

func (*noTagError) Error() string { return "pushing: the result has no reference" }

// Hint shows how to give one.
func (*noTagError) Hint() string { return "name it with -t REGISTRY/REPOSITORY:TAG" }

// Usage marks the error as the user's, for the exit code.
func (*noTagError) Usage() bool { return true }

// platformsError is a docker archive, or an image in an engine, for several platforms.
type platformsError struct {
	n      int
	engine *manifestlist.Engine
}

func (e *platformsError) Error() string {
	if e.engine != nil {
		return fmt.Sprintf("loading into %s: its image store holds one platform of an image, not %d", e.engine, e.n)
	}
	return fmt.Sprintf("understanding --output: a docker archive holds one platform, not %d", e.n)
}

// Hint names the form that holds several.
func (e *platformsError) Hint() string {
	if e.engine != nil {
		return "name one with --platform, or write -o type=oci,dest=FILE, which holds all; Docker 25 and later hold all with the containerd image store"
	}
	return "name one with --platform, or write type=oci, which holds all"
}

// Usage marks the error as the user's, for the exit code.
func (e *platformsError) Usage() bool { return true }

// explain names what was pushed where the solver's message does not: some failures to log in name neither registry nor image.
func (d *delivery) explain(err error, planned bool) error {
	var failure *solver.Failure
	if !planned || len(d.refs) == 0 || !errors.As(err, &failure) || failure.Step != "" || failure.Hint() == "" {
		return err
	}
	for _, ref := range d.refs {
		if strings.Contains(failure.Error(), ref.Name()) {
			return err
		}
	}
	return &pushError{refs: d.refs, err: failure}
}

type pushError struct {
	refs []manifestlist.Reference
	err  *solver.Failure
}

func (e *pushError) Error() string { return fmt.Sprintf("pushing to %s: %v", joined(e.refs), e.err) }

// Hint is the solver's, about the first registry.
func (e *pushError) Hint() string { return e.err.HintFor(e.refs[0].Registry) }

// Unwrap gives the solver's error.
func (e *pushError) Unwrap() error { return e.err }
