// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"

	"github.com/mab-build/mab/solver"
)

func serve(context.Context, solver.ServeConfig, []string) error {
	return usage{errors.New("starting the solver: it runs on Linux only"), "run it on a Linux machine"}
}

// shim does nothing: no solver runs here.
func shim(streams)    {}
func inSandbox() bool { return false }
