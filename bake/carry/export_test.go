// SPDX-License-Identifier: Apache-2.0

package main

// Carry packs a program.
func Carry(program, file string) error { return carry(program, file) }
