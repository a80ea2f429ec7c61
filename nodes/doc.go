// SPDX-License-Identifier: Apache-2.0

// Package nodes knows machines that solve: what a node is and what it was found able to do.
//
// Its one rule: what a node can run was probed there, by running it, and is never inferred from a name.
package nodes
