// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"fmt"
	"slices"

	"github.com/mab-build/mab/platforms"
	"github.com/opencontainers/go-digest"
)

// Report is what a check found, an entry for each image, in the order of the index.
type Report struct {
	Images []ImageReport `json:"images"`
	// Findings are what is wrong with what belongs to no image: attestations and other entries.
	Findings []Finding `json:"findings,omitempty"`
	// Warnings are of several images together.
	Warnings []string `json:"warnings,omitempty"`
}

// ImageReport is what was found in one platform's image.
type ImageReport struct {
	Platform platforms.Platform `json:"platform"`
	Digest   digest.Digest      `json:"digest"` // of the manifest
	Layers   int                `json:"layers"`
	Files    int                `json:"files"` // regular files of the final file system, a file of several names once
	Programs int                `json:"programs"`
	Bytes    int64              `json:"bytes"` // of the layers, uncompressed
	// Unchecked tells why programs were not looked at; empty if they were.
	Unchecked string `json:"unchecked,omitempty"`
	// Others are the programs of other platforms that this one runs as well.
	Others []Other `json:"others,omitempty"`
	// Exempted are the programs that rules allow.
	Exempted []Exempted `json:"exempted,omitempty"`
	Findings []Finding  `json:"findings,omitempty"`
	// MoreFindings are programs that are wrong and not in Findings.
	MoreFindings int      `json:"moreFindings,omitempty"`
	Warnings     []string `json:"warnings,omitempty"`
	// RootFS are the digests of the layers' content.
	RootFS []digest.Digest `json:"rootfs,omitempty"`
}

// Other counts the programs of another platform. First is the path of one.
type Other struct {
	Platform platforms.Platform `json:"platform"`
	Files    int                `json:"files"`
	First    string             `json:"first"`
}

// Exempted counts the programs that one rule allows. First is the path of one.
type Exempted struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	Files  int    `json:"files"`
	First  string `json:"first"`
}

// Finding is something that is wrong. Of a program: its path, and the layer that wrote it. Of a blob: its digest alone.
type Finding struct {
	Path     string        `json:"path,omitempty"`
	Found    string        `json:"found"`
	Expected string        `json:"expected,omitempty"`
	Blob     digest.Digest `json:"blob,omitempty"` // of the layer, else what the finding is about
	// Layer counts from 1; 0 is no layer.
	Layer int `json:"layer,omitempty"`
	// CreatedBy is what the image's history says of the layer; empty if it says nothing.
	CreatedBy string `json:"createdBy,omitempty"`
	// Location is where the step that wrote the layer is written, as FILE:LINE; empty if that is not known.
	Location string `json:"location,omitempty"`
}

// Shorten leaves the first findings and warnings only, so that a report can travel whatever is in the image.
func (r *ImageReport) Shorten(most int) {
	if more := len(r.Findings) - most; more > 0 {
		r.Findings, r.MoreFindings = r.Findings[:most], r.MoreFindings+more
	}
	if more := len(r.Warnings) - most; more > 0 {
		r.Warnings = append(slices.Clone(r.Warnings[:most]), fmt.Sprintf("%d more warnings", more))
	}
}

// Err returns a *RefusedError if anything is wrong. Unless strict, programs of other platforms are no error; damage always is.
func (r *Report) Err(strict bool) error {
	refused := RefusedError{}
	count := func(findings []Finding) {
		for _, f := range findings {
			if strict || f.Path == "" {
				refused.Findings++
			}
			if f.Path == "" {
				refused.Damaged++
			}
		}
	}
	count(r.Findings)
	for _, image := range r.Images {
		count(image.Findings)
		if strict {
			refused.Findings += image.MoreFindings
		}
	}
	if refused.Findings > 0 {
		return &refused
	}
	return nil
}

// RefusedError says that images are not as they should be.
type RefusedError struct {
	// Findings is how many things are wrong. Damaged of them are no programs, but blobs and configs.
	Findings, Damaged int
}

// Error counts them.
func (e *RefusedError) Error() string {
	if e.Findings == 1 {
		return "checking the contents: one thing is wrong"
	}
	return fmt.Sprintf("checking the contents: %d things are wrong", e.Findings)
}

// Refused marks the error as a check that failed.
func (*RefusedError) Refused() bool { return true }

// Hint tells what usually stands behind it.
func (e *RefusedError) Hint() string {
	if e.Damaged == e.Findings {
		return "the image is not what was built: copy it anew from where it is whole, or build it again"
	}
	return "a COPY --from, a base image or a download brought what is of another platform; what is meant to be there: --verify-exempt GLOB"
}

// Join makes one report of several, which may come from several machines.
func Join(images []ImageReport, findings []Finding) *Report {
	r := &Report{Images: images, Findings: findings}
	for i, image := range images {
		for _, earlier := range images[:i] {
			if len(image.RootFS) > 0 && slices.Equal(image.RootFS, earlier.RootFS) && image.Platform != earlier.Platform {
				r.Warnings = append(r.Warnings, fmt.Sprintf("%s and %s have the same files", earlier.Platform, image.Platform))
				break
			}
		}
	}
	return r
}
