// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// ErrCannotRun is Probe's answer that neither the CPU nor a handler runs programs of the platform.
var ErrCannotRun = errors.New("exec format error")

// RegisterAll registers with Flags every emulator whose programs do not run yet, and returns those it registered, in the order given.
// What runs already is left alone, be it by an entry of the instance or natively: an arm64 CPU may run 32-bit arm, and
// a handler would take that away from it, for the kernel asks handlers first. An emulator that fails does not keep
// the others from being registered; the error joins all failures.
func RegisterAll(ctx context.Context, in Instance, emulators []Emulator) ([]Emulator, error) {
	runs := make([]error, len(emulators))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range emulators {
		group.Go(func() error {
			runs[i] = Probe(ctx, e.Handler.Platforms[0], "")
			return nil
		})
	}
	_ = group.Wait() // Each probe's answer is in runs.
	var registered []Emulator
	var failures []error
	for i, e := range emulators {
		switch {
		case runs[i] == nil:
		case !errors.Is(runs[i], ErrCannotRun):
			failures = append(failures, fmt.Errorf("finding out whether %s is needed: %w", e.Handler.Name, runs[i]))
		default:
			if err := in.Register(e.Handler, e.Path, Flags); err != nil {
				failures = append(failures, err)
				continue
			}
			registered = append(registered, e)
		}
	}
	return slices.Clip(registered), errors.Join(failures...)
}
