// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
)

func TestParseMetadataOptions(t *testing.T) {
	for _, test := range []struct {
		provenance, warnings string
		want                 coordinator.MetadataOptions
	}{
		{"", "", coordinator.MetadataOptions{Provenance: true}},
		{"min", "0", coordinator.MetadataOptions{Provenance: true}},
		{"max", "1", coordinator.MetadataOptions{Provenance: true, Detailed: true, Warnings: true}},
		{"disabled", "true", coordinator.MetadataOptions{Warnings: true}},
		{"false", "no", coordinator.MetadataOptions{}},
		{"true", "yes", coordinator.MetadataOptions{Provenance: true}},
		{"whatever", "", coordinator.MetadataOptions{Provenance: true}},
	} {
		t.Run(test.provenance+","+test.warnings, func(t *testing.T) {
			if diff := cmp.Diff(test.want, coordinator.ParseMetadataOptions(test.provenance, test.warnings)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
