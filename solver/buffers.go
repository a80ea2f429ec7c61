// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
)

// SizeBuffers gives gRPC buffers of sizes that BuildKit's messages have, in this whole process. A file is sent in pieces of 32 KiB, with a few bytes
// around each, for which gRPC's own pool takes a buffer of 1 MiB, and clears it: 32 times what is sent. It is to be called before all else.
func SizeBuffers() {
	pool, err := mem.NewBinaryTieredBufferPool(bufferSizes...)
	if err != nil {
		return // gRPC's own does the same, more slowly.
	}
	experimental.SetDefaultBufferPool(pool)
}

// bufferSizes are powers of two: those of gRPC, https://github.com/grpc/grpc-go/blob/v1.83.2/mem/buffer_pool.go, and such between its last ones.
var bufferSizes = []uint8{8, 12, 14, 15, 16, 17, 18, 20}
