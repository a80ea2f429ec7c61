// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the mab binary on the real thing: real solvers, real emulation, real registries.
//
// Its one rule: it imports nothing of mab's. What it knows of the program is what a user sees.
package e2e
