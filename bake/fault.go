// SPDX-License-Identifier: Apache-2.0

package bake

import (
	"errors"
	"fmt"

	"github.com/mab-build/mab/bake/flat"
)

// Fault is what the author of the files or of the command line mends.
type Fault struct {
	err  error
	hint string
}

func (f *Fault) Error() string { return f.err.Error() }
func (f *Fault) Unwrap() error { return f.err }

// Hint says how to mend it; it may be empty.
func (f *Fault) Hint() string { return f.hint }

// Usage marks the error as the user's, for the exit code.
func (f *Fault) Usage() bool { return true }

func fault(hint, form string, args ...any) *Fault { return &Fault{fmt.Errorf(form, args...), hint} }

// told is a fault that the reader found; nil if it found none.
func told(f *flat.Fault) error {
	switch {
	case f == nil:
		return nil
	case f.Usage:
		return &Fault{errors.New(f.Text), f.Hint}
	}
	return errors.New(f.Text)
}
