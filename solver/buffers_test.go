// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/mab-build/mab/solver"
)

func TestSizeBuffers(t *testing.T) {
	solver.SizeBuffers()
	// A piece of a file, as fsutil sends it: 32 KiB of content with its number and kind.
	const piece = 32<<10 + 16
	buffer := mem.DefaultBufferPool().Get(piece)
	if got := cap(*buffer); got < piece || got > 2*piece {
		t.Errorf("%d bytes are sent in a buffer of %d", piece, got)
	}
}
