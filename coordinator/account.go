// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"slices"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// Account is how a platform was built, or a portion of it: what provenance and metadata tell of the plan.
type Account struct {
	// Node is the name that the user gave it. Empty: it is not told.
	Node string `json:"node,omitempty"`
	// Own is the node's own platform. Zero: it is not known.
	Own      platforms.Platform  `json:"node_platform,omitzero"`
	Strategy crossbuild.Strategy `json:"strategy"`
	// Emulators are those that steps ran under, with the platform each emulates, as in "linux/arm64: QEMU 7.2.0".
	Emulators []string `json:"emulators,omitempty"`
	// Why is the plan's reason. It names nodes; empty: it is not told.
	Why string `json:"why,omitempty"`
	// Portions are what others did for the platform, or its node for others as well.
	Portions []PortionAccount `json:"portions,omitempty"`
}

// PortionAccount is how a portion was built.
type PortionAccount struct {
	Kind PortionKind `json:"kind"`
	Account
}

// account tells of a goal by the plan as it is now.
func (r *run) account(g Goal) (Account, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plan.account(g, r.ownPlatform)
}

// account tells of a goal. Own gives the platforms of nodes themselves.
func (p *Plan) account(g Goal, own func(node string) platforms.Platform) (Account, bool) {
	if p == nil {
		return Account{}, false
	}
	at := slices.IndexFunc(p.Assignments, func(a Assignment) bool { return a.goal() == g })
	if at < 0 {
		return Account{}, false
	}
	a := &p.Assignments[at]
	out := Account{Node: a.Node, Own: own(a.Node), Strategy: a.Strategy, Emulators: emulators(a.Steps), Why: a.Why}
	for i := range p.Portions {
		o := &p.Portions[i]
		if slices.Contains(o.goals(), g) {
			out.Portions = append(out.Portions, PortionAccount{o.Kind, Account{
				Node: o.Node, Own: own(o.Node), Strategy: o.Strategy, Emulators: emulators(o.Steps), Why: o.Why,
			}})
		}
	}
	return out, true
}

// accounts is account as the solver of a commission asks for it.
func (r *run) accounts(of *commission) solver.Account {
	return func(p platforms.Platform) any {
		if out, ok := r.account(Goal{of.name, p}); ok {
			return out
		}
		return nil
	}
}

func (r *run) ownPlatform(node string) platforms.Platform {
	if m := r.member(node); m != nil {
		return m.Info.Own
	}
	return platforms.Platform{}
}

// emulators are those of steps, each once, in the order of the steps.
func emulators(steps []crossbuild.Handling) []string {
	var out []string
	for _, h := range steps {
		if h.Emulator == "" {
			continue
		}
		if text := fmt.Sprintf("%s: %s", h.Step.Platform, h.Emulator); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// anonymous is an account without the names of nodes, and without what names them.
func (a Account) anonymous() Account {
	a.Node, a.Why = "", ""
	a.Portions = slices.Clone(a.Portions)
	for i := range a.Portions {
		a.Portions[i].Account = a.Portions[i].anonymous()
	}
	return a
}
