// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "github.com/spf13/cobra"

// addAgent adds nothing: no solver runs here.
func addAgent(*cobra.Command, *options) {}
