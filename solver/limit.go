// SPDX-License-Identifier: Apache-2.0

package solver

// limitsLabel is the worker label that tells what a solver does less well than it might, as the JSON of []Limit.
const limitsLabel = "build.mab.limits"

// Limit is something that a solver does less well on its machine than it might.
type Limit struct {
	// Problem says what, with the consequence, without capital letter and full stop.
	Problem string `json:"problem"`
	// Mend is a command or a sentence; empty if nothing helps.
	Mend string `json:"mend,omitempty"`
}

// String is the limit in one line.
func (l Limit) String() string {
	if l.Mend == "" {
		return l.Problem
	}
	return l.Problem + "; mend: " + l.Mend
}
