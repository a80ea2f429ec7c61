// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"time"

	"github.com/mab-build/mab/solver"
)

// LimitOf is the limit of a run's steps on a node, by a plan.
func LimitOf(plan *Plan, timeout time.Duration, node string) solver.StepLimit {
	return (&run{commissions: []*commission{{request: &Request{EmulatedTimeout: timeout}}}, plan: plan}).limit(node)
}
