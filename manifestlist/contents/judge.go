// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/platforms"
)

// subject is an image whose layers were applied.
type subject struct {
	platform platforms.Platform
	manifest ocispec.Manifest
	config   ocispec.Image
	tree     *tree
	exempt   *exemptions
	counting
}

// judge looks at every program of the final file system, and adds what it finds to the report.
func (s *subject) judge(r *ImageReport) {
	notes := &notes{}
	for path, f := range s.tree.files() {
		r.Files++
		switch {
		case f.program == nil:
		case f.program.script:
			s.judgeScript(notes, path, f)
		case f.program.runs():
			r.Programs++
			s.judgeProgram(r, notes, path, f)
		}
	}
	s.judgeStart(notes)
	r.Warnings = notes.all()
}

func (s *subject) judgeProgram(r *ImageReport, notes *notes, path string, f *file) {
	as, runs, known := s.platform.Runs(f.program.elf)
	if !known {
		r.Unchecked = "mab does not know the programs of " + s.platform.String()
		return
	}
	if runs {
		if as != s.platform {
			r.addOther(as, path)
		}
		s.judgeLoader(notes, path, f)
		return
	}
	if rule, ok := s.exempt.find(s.tree, strings.TrimPrefix(path, "/"), f.program.elf); ok {
		r.addExempted(rule, path)
		return
	}
	r.Findings = append(r.Findings, Finding{
		Path: path, Found: f.program.elf.String(), Expected: s.platform.String(),
		Blob: s.manifest.Layers[f.layer].Digest, Layer: f.layer + 1, CreatedBy: createdBy(s.config.History, len(s.manifest.Layers), f.layer),
	})
}

// createdBy returns the line of the history that belongs to a layer. A history that counts other layers is of no use.
func createdBy(history []ocispec.History, layers, layer int) string {
	var lines []string
	for _, h := range history {
		if !h.EmptyLayer {
			lines = append(lines, h.CreatedBy)
		}
	}
	if len(lines) != layers {
		return ""
	}
	return lines[layer]
}

func (r *ImageReport) addOther(p platforms.Platform, path string) {
	i := slices.IndexFunc(r.Others, func(o Other) bool { return o.Platform == p })
	if i < 0 {
		i = len(r.Others)
		r.Others = append(r.Others, Other{Platform: p, First: path})
	}
	r.Others[i].Files++
}

func (r *ImageReport) addExempted(rule Rule, path string) {
	i := slices.IndexFunc(r.Exempted, func(e Exempted) bool { return e.Rule == rule.Name })
	if i < 0 {
		i = len(r.Exempted)
		r.Exempted = append(r.Exempted, Exempted{Rule: rule.Name, Reason: rule.Reason, First: path})
	}
	r.Exempted[i].Files++
}
