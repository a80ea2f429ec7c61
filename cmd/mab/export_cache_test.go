// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"

	"github.com/mab-build/mab/solver"
)

// PrintCache prints as mab cache du does; with a state it is verbose.
func PrintCache(w io.Writer, records []solver.CacheRecord, state *solver.Footprint, asJSON bool) error {
	r := cacheReport{Records: records, State: state}
	r.sum()
	if asJSON {
		return printJSON(w, r)
	}
	return printCache(w, &r)
}

// PrintPruned prints as mab cache prune does.
func PrintPruned(w io.Writer, records []solver.CacheRecord, verbose bool) error {
	r := cacheReport{Records: records}
	r.sum()
	return printPruned(w, &r, verbose)
}

// Confirm is confirm.
func Confirm(ctx context.Context, in io.Reader, stderr io.Writer, question string) (bool, error) {
	return confirm(ctx, streams{in: in, err: stderr}, question)
}
