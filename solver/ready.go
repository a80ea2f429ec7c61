// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"encoding/json"
	"errors"
	"os"
)

const (
	// readyFD is the descriptor on which a solver that was started on demand says that it answers, or why it cannot.
	readyFD = 3
	// lockFD is that of the lock on starts, which the solver closes then.
	lockFD = 4
)

// Parent is who started a solver on demand and waits for it.
type Parent struct{ told bool }

// Ready tells that the solver answers, and lets the next start go on.
func (p *Parent) Ready() { p.tell(answer{}) }

// Failed tells why the solver does not come up. After Ready it does nothing.
func (p *Parent) Failed(err error) {
	a := answer{Error: err.Error()}
	var mendable interface{ Hint() string }
	if errors.As(err, &mendable) {
		a.Hint = mendable.Hint()
	}
	p.tell(a)
}

func (p *Parent) tell(a answer) {
	if p.told {
		return
	}
	p.told = true
	pipe := os.NewFile(readyFD, "ready")
	_ = json.NewEncoder(pipe).Encode(a)
	_ = pipe.Close()
	_ = os.NewFile(lockFD, "start lock").Close()
}

// answer is what goes through the pipe: one of these in JSON. Empty, the solver is ready.
type answer struct {
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// toldError is what a solver that did not come up said itself.
type toldError struct{ answer }

func (e *toldError) Error() string { return e.answer.Error }
func (e *toldError) Hint() string  { return e.answer.Hint }
