// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// Result is what a build made.
type Result struct {
	// Target is the name of the request that it is of. Empty: that was alone.
	Target string
	// Descriptor is that of the index, or of the image where an index would hold one alone. Zero: the build made no image.
	Descriptor ocispec.Descriptor
	// Refs were written, in the order asked for.
	Refs []manifestlist.Reference
	// Images are those of the platforms, in the order asked for. Empty if no image was delivered.
	Images []manifestlist.Image
	// Checked is what was found in the images. Nil: their contents were not checked.
	Checked *contents.Report
	// Loaded is the ID of the image in the engine that it was loaded into, which is not always its digest. Empty: into none.
	Loaded digest.Digest
	// Referrer is the digest of the artifact in the registry, or in a layout that is to have it, that has the index's own provenance. Empty: there is none.
	Referrer digest.Digest
	// Plan is that of all requests.
	Plan *Plan
	// Warnings are those of the build, if they were asked for.
	Warnings []*solver.Warning
	// Ref is the build's name in the history of the node that solved its first platform: NODE/NAME.
	Ref string
	// Took is the whole time of the build, and Phases what it was spent on, in order.
	Took   time.Duration
	Phases []Phase

	// built is what is known of each platform, and nodes are the platforms of the nodes themselves.
	built map[platforms.Platform]built
	// assisted are steps of all requests.
	assisted []AssistedStep
	nodes    map[string]platforms.Platform
}

// Phase is a part of a build's time.
type Phase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// clock divides time into phases.
type clock struct {
	last   time.Time
	phases []Phase
}

// lap ends a phase that began with the last one's end.
func (c *clock) lap(name string) {
	now := time.Now()
	c.phases = append(c.phases, Phase{Name: name, Seconds: now.Sub(c.last).Seconds()})
	c.last = now
}

// String is the result as a command line can use it: what was pushed by digest, else its ID, else nothing.
func (r *Result) String() string {
	if r.Descriptor.Digest == "" {
		return ""
	}
	if len(r.Refs) == 0 {
		return r.ID()
	}
	ref := r.Refs[0]
	ref.Tag, ref.Digest = "", r.Descriptor.Digest
	return ref.Familiar()
}

// ID is what docker run takes if the result was loaded, else its digest; empty if there is no image.
func (r *Result) ID() string {
	if r.Loaded != "" {
		return r.Loaded.String()
	}
	return r.Descriptor.Digest.String()
}
