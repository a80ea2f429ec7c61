// SPDX-License-Identifier: Apache-2.0

package runc

import "context"

// FindCarried is Find in a program that carries what is given.
func FindCarried(ctx context.Context, dir, program, label string) (Runc, error) {
	return find(ctx, Config{Dir: dir}, parcel{program: program, label: label})
}
