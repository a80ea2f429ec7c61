// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/mab-build/mab/solver"
)

// machine is one that solves nothing.
type machine struct{}

func lookAtMachine(context.Context, solver.State) machine { return machine{} }

func (machine) close()            {}
func (machine) newest() time.Time { return time.Time{} }

func (machine) parts() []part {
	return []part{known(Check{
		Name: "kernel", Status: Missing, Found: runtime.GOOS + "; the solver, its namespaces, file systems and emulators are Linux's, and cannot be checked here",
		Mend: "run mab doctor on the Linux machine that builds",
	})}
}

func (machine) build(solver.Config) part {
	_, _, err := solver.Attach(context.Background(), solver.AttachConfig{})
	return known(failed(buildName, err))
}

// Inside fails: there are no sandboxes on this system.
func Inside(context.Context, solver.State, string, io.Writer) error {
	return fmt.Errorf("looking from the solver's namespaces: %w", errors.ErrUnsupported)
}
