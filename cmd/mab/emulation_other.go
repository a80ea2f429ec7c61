// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"
)

func listEmulation(context.Context, bool, *options) error {
	return usage{errors.New("listing emulators: the solver runs on Linux only"), "run it on a Linux machine"}
}
