// SPDX-License-Identifier: Apache-2.0

package nodes

import "context"

// Carrier is carrier.
type Carrier = carrier

// BandwidthOver measures the bandwidth to a machine and back.
func BandwidthOver(ctx context.Context, m Carrier) (up, down float64, err error) {
	return bandwidth(ctx, m)
}

// DirectTo is reached without a link.
func DirectTo(e Entry) *Reached { return &Reached{way: direct{entry: e}} }
