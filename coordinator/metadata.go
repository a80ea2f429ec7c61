// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// MetadataOptions say what Metadata has beside the result. The zero value: no provenance and no warnings.
type MetadataOptions struct {
	// Provenance has the provenance of every platform be read from the nodes' histories, and Detailed all of it.
	Provenance, Detailed bool
	// Warnings has those of the build be kept.
	Warnings bool
}

// ParseMetadataOptions reads the values of BUILDX_METADATA_PROVENANCE (min, max or disabled) and BUILDX_METADATA_WARNINGS (a truth value) as
// docker buildx does: what it does not know is what it does by default, which is min and no warnings.
func ParseMetadataOptions(provenance, warnings string) MetadataOptions {
	yes, err := strconv.ParseBool(provenance)
	out := MetadataOptions{Provenance: provenance != "disabled" && (err != nil || yes), Detailed: provenance == provenanceMax}
	out.Warnings, _ = strconv.ParseBool(warnings)
	return out
}

// built is what is known of a platform that was built.
type built struct {
	// took is how long its solve took, which may have been for others as well; provenance is nil where none is known.
	took         time.Duration
	steps, cache int
	provenance   json.RawMessage
}

// know keeps what is known of the platforms of a task, and asks its node for what only that knows.
func (r *run) know(ctx context.Context, o *outcome, into map[platforms.Platform]built) {
	var found map[platforms.Platform]json.RawMessage
	of := o.task.of.request.Metadata
	if of.Provenance {
		var err error
		found, err = o.task.member.client.Provenance(ctx, o.solved.Ref, of.Detailed)
		if err != nil {
			r.cfg.Note(fmt.Sprintf("the metadata lacks the provenance of %s, because %v", words(o.task.platforms), err))
		}
	}
	for _, p := range o.task.platforms {
		b := built{took: o.took, steps: o.solved.Steps, cache: o.solved.Cached, provenance: found[p]}
		if b.provenance == nil && len(o.task.platforms) == 1 {
			b.provenance = found[platforms.Platform{}]
		}
		into[p] = b
	}
}

// platformMetadata is what the metadata has of a platform.
type platformMetadata struct {
	Platform platforms.Platform `json:"platform"`
	Digest   digest.Digest      `json:"digest,omitempty"`
	Account
	// Seconds, Steps and Cached are those of the solve, which may have been for other platforms of the node as well.
	Seconds float64 `json:"seconds,omitempty"`
	Steps   int     `json:"steps,omitempty"`
	Cached  int     `json:"cached,omitempty"`
	// Assisted are the steps that were.
	Assisted []AssistedStep `json:"assisted,omitempty"`
}

// Metadata is the content of --metadata-file: the keys of docker buildx, and mab's own about each platform.
// https://docs.docker.com/reference/cli/docker/buildx/build/#metadata-file
func (r *Result) Metadata() ([]byte, error) {
	doc := map[string]any{"buildx.build.ref": "mab/" + r.Ref}
	if r.Descriptor.Digest != "" {
		doc["containerimage.digest"] = r.Descriptor.Digest
		doc["containerimage.descriptor"] = r.Descriptor
	}
	if len(r.Images) == 1 {
		doc["containerimage.config.digest"] = r.Images[0].Config.Digest
	}
	if len(r.Refs) > 0 {
		doc["image.name"] = joined(r.Refs)
	}
	if len(r.Warnings) > 0 {
		doc["buildx.build.warnings"] = r.Warnings
	}
	if r.Referrer != "" {
		doc["mab.provenance.digest"] = r.Referrer
	}
	var list []platformMetadata
	for _, a := range r.Plan.Assignments {
		if a.Target != r.Target {
			continue
		}
		known := r.built[a.Platform]
		e := platformMetadata{Platform: a.Platform, Seconds: known.took.Seconds(), Steps: known.steps, Cached: known.cache}
		e.Account, _ = r.Plan.account(a.goal(), func(node string) platforms.Platform { return r.nodes[node] })
		e.Assisted = assistedFor(r.assisted, a.Target, a.Platform)
		for _, image := range r.Images {
			if image.Platform == a.Platform {
				e.Digest = image.Manifest.Digest
			}
		}
		list = append(list, e)
		if known.provenance == nil {
			continue
		}
		key := "buildx.build.provenance"
		if len(r.built) > 1 {
			key += "/" + a.Platform.String()
		}
		doc[key] = known.provenance
	}
	doc["mab.platforms"] = list
	doc["mab.seconds"] = r.Took.Seconds()
	doc["mab.phases"] = r.Phases
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the metadata: %w", err)
	}
	return text, nil
}

// warnings are those of all tasks of a request, each once, if they are wanted.
func (r *run) warnings(of *commission) (out []*solver.Warning) {
	if !of.request.Metadata.Warnings {
		return nil
	}
	seen := map[string]bool{}
	for _, o := range r.done {
		if o.task.of != of || o.solved == nil {
			continue
		}
		for _, w := range o.solved.Warnings {
			key := fmt.Sprintf("%s\x00%s\x00%v", w.Short, w.URL, w.Range)
			if !seen[key] {
				seen[key], out = true, append(out, w)
			}
		}
	}
	return out
}
