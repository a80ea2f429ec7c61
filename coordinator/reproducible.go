// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

// BuildReproducibly is Build for what is to give the same images each time. It builds twice before it writes anything: the second time without
// the cache, and each platform on another node where one is able to. If the images differ, the error is a *DifferentError, and nothing is
// written.
func (c *Coordinator) BuildReproducibly(ctx context.Context, r Request) (out *Result, err error) {
	list, closing, err := receive(ctx, []Named{{Request: r}})
	if err != nil {
		return nil, errors.Join(err, closing())
	}
	defer func() { err = errors.Join(err, closing()) }()
	dir, err := os.MkdirTemp("", "mab-reproducible-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for what is compared: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	build := func(r Request, avoid ...Exclusion) (*Result, error) {
		list[0].request = &r
		results, err := c.received(ctx, list, avoid...)
		if err != nil {
			return nil, err
		}
		return results[0], nil
	}
	first, err := build(r.trial(filepath.Join(dir, "first")))
	if err != nil {
		return nil, err
	}
	again := r.trial(filepath.Join(dir, "second"))
	again.Platforms, again.NoCache = nil, true
	for _, image := range first.Images {
		again.Platforms = append(again.Platforms, image.Platform)
	}
	second, err := build(again, elsewhere(first.Plan)...)
	if err != nil {
		return nil, fmt.Errorf("building a second time: %w", err)
	}
	if err := compare(ctx, dir, first, second); err != nil {
		return nil, err
	}
	return build(r)
}

// trial is the request with nothing to write but a layout in a directory of mab's own: the very image that is asked for, but without
// attestations, which are no part of it.
func (r *Request) trial(dest string) Request {
	out := *r
	attrs := map[string]string{}
	for _, o := range r.Outputs {
		if o.Type == outputLocal || o.Type == outputTar || o.Type == outputCacheOnly {
			continue
		}
		for _, name := range []string{"rewrite-timestamp", "compression", "compression-level", "force-compression", "oci-mediatypes"} {
			if value, ok := o.Attrs[name]; ok {
				attrs[name] = value
			}
		}
		break
	}
	out.Push, out.Load, out.Tags, out.Metadata = false, false, nil, MetadataOptions{}
	out.Annotations = slices.DeleteFunc(slices.Clone(r.Annotations), func(s string) bool { return strings.Contains(s, "index") })
	out.Outputs = []Output{{Type: outputOCI, Dest: dest, Directory: true, Attrs: attrs}}
	out.CacheTo, out.Attests, out.SBOM, out.Provenance = nil, nil, "", "false"
	return out
}

// elsewhere keeps each platform off the node that built it, where others are able to.
func elsewhere(p *Plan) (out []Exclusion) {
	for _, a := range p.Assignments {
		able := func(o Alternative) bool { return o.Strategy != 0 && o.Node != a.Node }
		if slices.ContainsFunc(a.Alternatives, able) {
			out = append(out, Exclusion{Node: a.Node, Any: true, Platform: a.Platform, Why: "it has built it the first time"})
		}
	}
	return out
}

// compare fails with a *DifferentError if the images of two results differ, which are in layouts named first and second.
func compare(ctx context.Context, dir string, first, second *Result) error {
	out := &DifferentError{Nodes: map[platforms.Platform][2]string{}}
	for i, a := range first.Images {
		found, err := contents.Compare(ctx, a, second.Images[i],
			manifestlist.BlobDir(filepath.Join(dir, "first")), manifestlist.BlobDir(filepath.Join(dir, "second")))
		if err != nil {
			return err
		}
		if len(found) > 0 {
			out.Platforms = append(out.Platforms, a.Platform)
			out.Nodes[a.Platform] = [2]string{first.node(a.Platform), second.node(a.Platform)}
			out.Differences = append(out.Differences, found...)
		}
	}
	if len(out.Platforms) == 0 {
		return nil
	}
	return out
}

// node is the one that a platform was built on.
func (r *Result) node(p platforms.Platform) string {
	for _, a := range r.Plan.Assignments {
		if a.Platform == p {
			return a.Node
		}
	}
	return ""
}

// DifferentError is a build that gave other images the second time. Nothing was written.
type DifferentError struct {
	// Platforms are those that differ, in the order of the request, and Nodes where each was built first and then.
	Platforms []platforms.Platform
	Nodes     map[platforms.Platform][2]string
	// Differences are all that was found, in the order of the platforms.
	Differences []contents.Difference
}

// shownDifferences is how many an error shows of one platform.
const shownDifferences = 20

// Error names what differs: of each platform the first files.
func (e *DifferentError) Error() string {
	lines := []string{"checking the result: it is not reproducible: " + words(e.Platforms) + " differ from one build to the next"}
	for _, p := range e.Platforms {
		on := e.Nodes[p]
		lines = append(lines, fmt.Sprintf("  %s, built on %s and then on %s:", p, on[0], on[1]))
		n := 0
		for _, d := range e.Differences {
			if d.Platform != p {
				continue
			}
			if n++; n <= shownDifferences {
				lines = append(lines, "    "+strings.TrimPrefix(d.String(), p.String()+": "))
			}
		}
		if n > shownDifferences {
			lines = append(lines, fmt.Sprintf("    and %d more", n-shownDifferences))
		}
	}
	return strings.Join(lines, "\n")
}

// Hint says what most often mends it.
func (e *DifferentError) Hint() string {
	times := func(d contents.Difference) bool {
		return slices.Equal(d.What, []string{"time"}) || d.Where == "config" && (d.Path == "created" || d.Path == "history")
	}
	if slices.ContainsFunc(e.Differences, times) {
		return "times differ: set SOURCE_DATE_EPOCH, and add rewrite-timestamp=true to the output (-o type=registry,rewrite-timestamp=true,name=…)"
	}
	return "find the steps that write these files, and take out of them what is random, a time or the machine's (docs/results.md)"
}

// Refused marks the error as a result that did not pass, for the exit code.
func (e *DifferentError) Refused() bool { return true }
