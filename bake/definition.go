// SPDX-License-Identifier: Apache-2.0

package bake

import (
	"context"

	"github.com/mab-build/mab/bake/flat"
)

// Query is what is asked for.
type Query = flat.Query

// Listed is a target or a group.
type Listed = flat.Listed

// Variable is a variable of the files.
type Variable = flat.Variable

// Definition is what files say, before targets are chosen.
type Definition struct{ found flat.Answer }

// Read has the reader read the files of a query, and finds what is wrong with them.
func (r *Reader) Read(ctx context.Context, q Query) (*Definition, error) {
	found, err := r.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := told(found.Fault); err != nil {
		return nil, err
	}
	return &Definition{found}, nil
}

// Variables are sorted by name.
func (d *Definition) Variables() []Variable { return d.found.Variables }

// List returns targets and groups by name, but for those whose name begins with an underscore, which are private by convention.
func (d *Definition) List() []Listed { return d.found.Targets }

// Selection is the targets that are wanted, with all that they inherit and all overrides.
type Selection struct{ found flat.Selection }

// Select returns the targets of the query.
func (d *Definition) Select() (*Selection, error) {
	if err := told(d.found.Selection.Fault); err != nil {
		return nil, err
	}
	return &Selection{d.found.Selection}, nil
}

// JSON is the selection as docker buildx bake --print has it.
func (s *Selection) JSON() ([]byte, error) {
	return []byte(s.found.Print), told(s.found.PrintFault)
}
