// SPDX-License-Identifier: Apache-2.0

// Package coordinator builds: it takes a Request, has the frontend make a Graph of each target, decides on a Plan, runs it on
// the nodes, and merges what comes back into one index.
//
// Its one rule: deciding is pure. NewPlan does no I/O, and nothing is solved before the plan is complete.
package coordinator
