// SPDX-License-Identifier: Apache-2.0

// Package solver is BuildKit: the daemon side, embedded and run by Serve in namespaces of its own, and the client side,
// which talks to that daemon or to any other that speaks BuildKit's control API.
//
// Its one rule: what a user asked for is translated into BuildKit's options here and nowhere else, in Request.
//
// The daemon side exists on Linux only; the client side everywhere.
package solver
