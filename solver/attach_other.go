// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package solver

import (
	"context"
	"runtime"

	"github.com/mab-build/mab/emulation"
)

// ReadyFD and LockFD are used on Linux only.
const (
	ReadyFD = 3
	LockFD  = 4
)

// Attach fails: the solver runs on Linux only.
func Attach(context.Context, AttachConfig) (*Client, Info, error) {
	return nil, Info{}, &hostError{}
}

type hostError struct{}

func (*hostError) Error() string {
	return "starting the solver: it runs on Linux, this is " + runtime.GOOS
}

// Hint says what works instead.
func (*hostError) Hint() string { return "build on a Linux machine" }

// Stop fails: the solver runs on Linux only.
func Stop(context.Context, State) error { return &hostError{} }

// Refresh finds no running solver: it runs on Linux only.
func Refresh(context.Context, State) (Info, bool, error) { return Info{}, false, nil }

// ReadMeasurements reads nothing: there is nothing to measure where there is no binfmt_misc.
func ReadMeasurements(string) emulation.Measurements { return emulation.Measurements{} }
