// SPDX-License-Identifier: Apache-2.0

package bake

import "context"

// Unpack unpacks what a program carries.
func Unpack(ctx context.Context, carried, dir string) (string, error) {
	return parcel(carried).unpack(ctx, dir)
}
