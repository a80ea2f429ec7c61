// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

// These open the pure parts to the tests.

// PortIn is portIn.
func PortIn(table string) (int, error) { return portIn(table) }

// Quote is quote.
func Quote(args []string) string { return quote(args) }
