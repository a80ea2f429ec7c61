// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package solver

import "context"

// Footprint fails: the solver keeps its state on Linux only.
func (s State) Footprint(context.Context) (Footprint, error) { return Footprint{}, &hostError{} }
