// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/solver"
)

// delivery is what becomes of a build's result: what the solver leaves behind, and what is merged and written from it.
type delivery struct {
	exports []solver.Export
	// tags are the references that every output gets.
	tags []manifestlist.Reference
	// refs are what is pushed. Empty: nothing is.
	refs []manifestlist.Reference
	// names are written into layouts.
	names []manifestlist.Reference
	// layouts are the outputs made of blobs; staging is the directory that the solver fills with them. The opener removes it.
	layouts []Output
	staging string
	// archives are tar outputs that get their names when the build is done.
	archives []*archive
	merge    manifestlist.MergeOptions
	// insecure allows plain HTTP and unknown certificates for the index too.
	insecure bool
}

// insecureAttr is BuildKit's setting of an image output that allows plain HTTP and unknown certificates.
const insecureAttr = "registry.insecure"

// newDelivery checks the outputs of a request and makes the staging directory if one is needed.
func newDelivery(r *Request, stdout io.Writer) (*delivery, error) {
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
		outputs = append(outputs, Output{Type: outputImage})
	}
	for _, o := range outputs {
		if o.Type == outputImage && r.Push {
			o.Attrs = maps.Clone(o.Attrs)
			if o.Attrs == nil {
				o.Attrs = map[string]string{}
			}
			o.Attrs["push"] = "true"
		}
		if err := d.add(o, stdout); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	for i := range d.exports {
		if d.exports[i].Type == outputImage || d.exports[i].Type == outputOCI {
			maps.Copy(d.exports[i].Attrs, notes.attrs)
		}
		if d.exports[i].Type == outputImage && r.InsecureRegistry {
			d.exports[i].Attrs[insecureAttr] = "true"
		}
	}
	return d, nil
}

func (d *delivery) add(o Output, stdout io.Writer) error {
	switch {
	case o.Type == outputCacheOnly:
		return nil
	case o.push():
		return d.addPush(o)
	case o.layout():
		return d.addLayout(o)
	case o.Type == outputLocal:
		d.exports = append(d.exports, solver.Export{Type: o.Type, Attrs: o.Attrs, Dir: o.Dest})
	case o.Type == outputTar:
		d.exports = append(d.exports, solver.Export{Type: o.Type, Attrs: o.Attrs, Tar: d.tar(o.Dest, stdout)})
	default:
		d.exports = append(d.exports, solver.Export{Type: o.Type, Attrs: cloneWithout(o.Attrs, "name")})
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

// addPush has the node push by digest. The tags come last, when the index is merged.
func (d *delivery) addPush(o Output) error {
	refs, err := d.named(o)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return &noTagError{}
	}
	var repos []string
	for _, ref := range refs {
		if !slices.Contains(repos, ref.Name()) {
			repos = append(repos, ref.Name())
		}
	}
	d.refs = appendNew(d.refs, refs)
	attrs := cloneWithout(o.Attrs, "name")
	if yes, _ := strconv.ParseBool(attrs[insecureAttr]); yes {
		d.insecure = true
	}
	attrs["push"], attrs["push-by-digest"], attrs["name"] = "true", "true", strings.Join(repos, ",")
	d.exports = append(d.exports, solver.Export{Type: outputImage, Attrs: attrs})
	return nil
}

// addLayout lets all layouts of a build share one directory of blobs: the solver can fill only one.
func (d *delivery) addLayout(o Output) error {
	attrs := cloneWithout(o.Attrs, "name")
	attrs["tar"] = "false"
	names, err := d.named(o)
	if err != nil {
		return err
	}
	if len(d.layouts) > 0 {
		for _, e := range d.exports {
			if e.Type == outputOCI && (!maps.Equal(cloneWithout(e.Attrs, "name"), attrs) || !slices.Equal(names, d.names)) {
				return usage{errors.New("understanding --output: several outputs of type oci and docker have different settings; build them one after the other")}
			}
		}
		d.layouts = append(d.layouts, o)
		return nil
	}
	d.names = names
	near := ""
	if o.Dest != "-" {
		near = filepath.Dir(o.Dest)
	}
	// Attestations name their subject by it.
	if len(d.names) > 0 {
		attrs["name"] = joined(d.names)
	}
	dir, err := os.MkdirTemp(near, ".mab-staging-")
	if err != nil {
		return fmt.Errorf("making a directory for the image's blobs: %w", err)
	}
	d.staging = dir
	d.layouts = append(d.layouts, o)
	d.exports = append(d.exports, solver.Export{Type: outputOCI, Attrs: attrs, Blobs: dir})
	return nil
}

// close removes what the delivery made for itself, and archives that were not committed.
func (d *delivery) close() error {
	var errs []error
	for _, a := range d.archives {
		errs = append(errs, a.discard())
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

// image reports whether the result is an image, so that there is something to merge.
func (d *delivery) image() bool { return len(d.refs) > 0 || len(d.layouts) > 0 }

func joined(refs []manifestlist.Reference) string {
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = ref.String()
	}
	return strings.Join(names, ",")
}

func cloneWithout(attrs map[string]string, names ...string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, attrs)
	for _, name := range names {
		delete(out, name)
	}
	return out
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
