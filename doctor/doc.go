// SPDX-License-Identifier: Apache-2.0

// Package doctor examines this machine: what of a build works here, what works less well and what follows, what does not and what
// mends it.
//
// Its one rule: it tells what it tried, not what it inferred. Namespaces are made, file systems mounted, foreign programs run,
// registries asked, and a build is built. Nothing of it stays but a solver, which a build would have started too. Probes find
// facts and judge nothing; the judges turn facts into lines and touch nothing.
package doctor
