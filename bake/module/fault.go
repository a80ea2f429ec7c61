// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/mab-build/mab/bake/flat"
)

// mistake is what the author of the files or of the command line mends.
type mistake struct {
	err  error
	hint string
}

func (m *mistake) Error() string { return m.err.Error() }
func (m *mistake) Unwrap() error { return m.err }

func fault(hint, form string, args ...any) *mistake { return &mistake{fmt.Errorf(form, args...), hint} }

// flatten is an error as it is answered.
func flatten(err error) *flat.Fault {
	if err == nil {
		return nil
	}
	out := &flat.Fault{Text: err.Error()}
	var known *mistake
	if errors.As(err, &known) {
		out.Hint, out.Usage = known.hint, true
	}
	return out
}

// unknown is the fault of asking for a name that is not among those that the files have.
func unknown(name string, names []string) *mistake {
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
