// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"os"
	"time"

	"github.com/mab-build/mab/nodes"
)

// Relay is relay of a wire of these files.
func Relay(ctx context.Context, in, out *os.File, conn *net.UnixConn) {
	newWire(streams{in: in, out: out}).relay(ctx, conn)
}

// Hello is hello of a wire of these files.
func Hello(in, out *os.File, wait time.Duration) (nodes.Hello, error) {
	return newWire(streams{in: in, out: out}).hello(wait)
}
