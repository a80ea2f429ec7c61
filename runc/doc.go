// SPDX-License-Identifier: Apache-2.0

// Package runc finds the runc that runs a solver's steps: the one that this program carries, else the one in PATH. Its one
// rule: what Find returns can run every step of BuildKit's, so a wrong runc is a clear error at the start and not a strange
// one in the middle of a build.
package runc
