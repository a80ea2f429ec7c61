// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/solver"
)

// limit is how long steps may take on a node: those that run under an emulator there, as long as the request says. Nil: none is limited.
func (r *run) limit(node string) solver.StepLimit {
	if r.common().EmulatedTimeout <= 0 {
		return nil
	}
	return func(step digest.Digest) time.Duration {
		r.mu.Lock()
		plan := r.plan
		r.mu.Unlock()
		if plan.emulates(node, step) {
			return r.common().EmulatedTimeout
		}
		return 0
	}
}

// emulates reports whether a step runs under an emulator on a node. A nil plan has no steps.
func (p *Plan) emulates(node string, step digest.Digest) bool {
	if p == nil {
		return false
	}
	emulated := func(h crossbuild.Handling) bool {
		return (h.How == crossbuild.RunsEmulated || h.How == crossbuild.RunsAssisted) && h.Step.Digest == step
	}
	return slices.ContainsFunc(p.Assignments, func(a Assignment) bool { return a.Node == node && slices.ContainsFunc(a.Steps, emulated) }) ||
		slices.ContainsFunc(p.Portions, func(o Portion) bool { return o.Node == node && slices.ContainsFunc(o.Steps, emulated) })
}

// emulatorFault tells what an emulator did wrong in a step that it ran; empty: nothing that is known to be its fault.
func emulatorFault(failure *solver.Failure, step string) string {
	if limit, late := failure.Overdue(); late {
		return fmt.Sprintf("step %q was stopped after %v under emulation", step, limit)
	}
	if failure.EmulatorCrashed() || failure.Crashed() {
		return fmt.Sprintf("the emulator crashed in step %q", step)
	}
	return ""
}
