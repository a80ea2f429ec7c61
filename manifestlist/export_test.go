// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"net"
	"net/http"
)

// IsLoopback is for tests: most loopback names resolve to nothing on a test machine.
var IsLoopback = isLoopback

// DialAlways makes c reach the server at addr under every name, so that registries on other machines can be tested.
func DialAlways(c *Client, addr string) *Client {
	for _, transport := range []*http.Transport{c.strict, c.trusting} {
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
	return c
}
