// SPDX-License-Identifier: Apache-2.0

package bake

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
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

// unknown is the fault of asking for a name that is not among those that the files have.
func unknown(name string, names []string) *Fault {
	public := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasPrefix(n, "_") })
	slices.Sort(public)
	hint := "the files have no targets"
	if len(public) > 0 {
		hint = "the targets: " + strings.Join(slices.Compact(public), ", ")
	}
	if near := nearest(name, names); len(near) > 0 {
		hint = "did you mean: mab bake " + strings.Join(near, " or mab bake ")
	}
	if name == defaultTarget {
		hint = "name one, or write group \"default\"; " + hint
	}
	return fault(hint, "choosing targets: there is no target %q", name)
}

// nearest returns the names that are at most two edits away, or a third of the name, the nearest first.
func nearest(name string, names []string) []string {
	distance := func(n string) int { return levenshtein.Distance(name, n, nil) }
	most := max(2, len(name)/3)
	out := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return distance(n) > most || distance(n) >= len(name) })
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(distance(a)-distance(b), strings.Compare(a, b)) })
	return slices.Compact(out)
}
