// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"

	"github.com/mab-build/mab/solver"
)

// LocalNames are the new names of each request's directories, as receive finds them.
func LocalNames(ctx context.Context, list []Named) ([]map[string]string, error) {
	all, closing, err := receive(ctx, list)
	var out []map[string]string
	for _, c := range all {
		out = append(out, c.renaming.Locals)
	}
	return out, errors.Join(err, closing())
}

func memoryOf(state solver.State, list []Named) (memory, error) {
	all, err := commissions(list)
	if err != nil {
		return memory{}, err
	}
	return New(Config{Attach: solver.AttachConfig{State: state}}).remember(all), nil
}

// Keep is memory.add of requests that were built together.
func Keep(state solver.State, list []Named, records []Record) error {
	m, err := memoryOf(state, list)
	if err != nil {
		return err
	}
	return m.add(records)
}

// Recall are the records that a memory of requests knows.
func Recall(state solver.State, list []Named) []Record {
	m, err := memoryOf(state, list)
	if err != nil {
		return nil
	}
	return m.known.Records
}
