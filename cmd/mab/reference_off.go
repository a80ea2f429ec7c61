// SPDX-License-Identifier: Apache-2.0

//go:build !reference

package main

import "github.com/spf13/cobra"

//go:generate go run -tags reference . reference --markdown ../../docs/reference

// addReference adds nothing: what writes the reference would only make the program larger.
func addReference(*cobra.Command) {}
