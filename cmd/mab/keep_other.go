// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/nodes"
)

// addKeeper adds nothing: a process of this system has its console's end for its own.
func addKeeper(*cobra.Command) {}

// keep is not there.
func (*options) keep(time.Duration) *nodes.Keep { return nil }
