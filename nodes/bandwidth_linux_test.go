// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"testing"

	"github.com/mab-build/mab/nodes"
)

func TestBandwidthOfAShell(t *testing.T) {
	up, down, err := nodes.BandwidthOver(t.Context(), newShell(t))
	// A pipe carries at least as much as a disk of long ago.
	if err != nil || up < 1e7 || down < 1e7 {
		t.Errorf("%.0f up, %.0f down, %v", up, down, err)
	}
}
