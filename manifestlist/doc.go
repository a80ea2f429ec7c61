// SPDX-License-Identifier: Apache-2.0

// Package manifestlist turns the images that nodes built into one index: it takes BuildKit's results apart, merges and checks
// them, writes the result to registries, OCI layouts and archives, and reads such results back.
//
// Its one rule: nothing gets a name before it is complete. Tags, index.json and the name of a file are written last, in one
// step, after everything they reach is there and has the digest it should; what fails or is cancelled before leaves no trace.
//
// The way through it: Split (or ReadImages) for each solve, Check, Merge, then Client.Push, WriteLayout or WriteArchive.
package manifestlist
