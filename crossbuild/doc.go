// SPDX-License-Identifier: Apache-2.0

// Package crossbuild reads build graphs (BuildKit's LLB definitions): which step runs what, for which platform, on which
// one it may run, what several targets share, and from that how a node can build a target (native, cross, assisted or emulated).
//
// Its one rule: it is pure. A definition is bytes from a frontend that may be anybody's image (# syntax=), so everything
// here takes hostile input and answers with a value or an error, without I/O, and what it cannot prove it does not claim.
//
// A step runs a program (RUN) or it does not: sources, copies, merges and diffs are done by the solver itself, on any
// node at full speed whatever the platform. Only the former decide the strategy.
package crossbuild
