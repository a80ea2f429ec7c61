// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/moby/buildkit/client"

	"github.com/mab-build/mab/manifestlist/contents"
)

// Verify has a solver check the contents of images before it hands them over or pushes them, on its own machine and with what it
// remembers of layers that it has checked before. Solvers that are not mab's check nothing.
type Verify struct {
	// Exempt are globs as contents.Config has them.
	Exempt []string `json:"exempt,omitempty"`
	// Strict has programs of other platforms be an error, as damage always is: then nothing is pushed.
	Strict bool `json:"strict,omitempty"`
}

// verifyAttr is the setting of an export that wants Verify, as JSON, and verifiedKey is what the answer has of it, the JSON of
// []contents.ImageReport.
const (
	verifyAttr  = "mab.verify"
	verifiedKey = "mab.verified"
)

// mostTold is how many findings of an image are in the answer.
const mostTold = 200

// verifyAttrs are the settings of an export, with the wish for a check if there is one and it makes an image.
func (s *Solve) verifyAttrs(e Export) (map[string]string, error) {
	if s.Verify == nil || s.client == nil || s.client.foreign.Load() || e.Type != client.ExporterImage && e.Type != client.ExporterOCI {
		return e.Attrs, nil
	}
	text, err := json.Marshal(s.Verify)
	if err != nil {
		return nil, fmt.Errorf("asking for a check: %w", err)
	}
	attrs := map[string]string{verifyAttr: string(text)}
	maps.Copy(attrs, e.Attrs)
	return attrs, nil
}

// verified reads what a solver has checked. Nil: nothing.
func verified(answer map[string]string) ([]contents.ImageReport, error) {
	text := answer[verifiedKey]
	if text == "" {
		return nil, nil
	}
	var out []contents.ImageReport
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("reading what the solver has checked: %w", err)
	}
	return out, nil
}
