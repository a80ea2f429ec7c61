// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"os"
)

// Relay is relay of a wire of these files.
func Relay(ctx context.Context, in, out *os.File, conn *net.UnixConn) {
	newWire(streams{in: in, out: out}).relay(ctx, conn)
}
