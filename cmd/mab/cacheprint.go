// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"

	"github.com/mab-build/mab/solver"
)

// cacheReport is what mab cache prints. Sizes are in bytes.
type cacheReport struct {
	Records []solver.CacheRecord `json:"records"`
	// Shared is the part of Total that something else keeps as well, Reclaimable what prune --all would remove.
	Shared      int64             `json:"shared"`
	Reclaimable int64             `json:"reclaimable"`
	Total       int64             `json:"total"`
	State       *solver.Footprint `json:"state,omitempty"`
}

func (r *cacheReport) sum() {
	for i := range r.Records {
		c := &r.Records[i]
		r.Total += c.Size
		if c.Reclaimable {
			r.Reclaimable += c.Size
		}
		if c.Shared {
			r.Shared += c.Size
		}
	}
}

// printCache prints records and totals as docker buildx du does. What has a State is verbose.
func printCache(w io.Writer, r *cacheReport) error {
	var err error
	if r.State != nil {
		err = printRecords(w, r.Records)
	} else {
		err = printRecordTable(w, r.Records)
	}
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if r.Shared > 0 {
		_, _ = fmt.Fprintf(table, "Shared:\t%s\n", human(r.Shared))
		_, _ = fmt.Fprintf(table, "Private:\t%s\n", human(r.Total-r.Shared))
	}
	_, _ = fmt.Fprintf(table, "Reclaimable:\t%s\n", human(r.Reclaimable))
	_, _ = fmt.Fprintf(table, "Total:\t%s\n", human(r.Total))
	if err := table.Flush(); err != nil || r.State == nil {
		return err
	}
	return printFootprint(w, r.State)
}

// printPruned prints what was removed.
func printPruned(w io.Writer, r *cacheReport, verbose bool) error {
	var err error
	if verbose {
		err = printRecords(w, r.Records)
	} else if len(r.Records) > 0 {
		err = printRecordTable(w, r.Records)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Total:  %s\n", human(r.Total))
	return err
}

func printRecordTable(w io.Writer, records []solver.CacheRecord) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED")
	for i := range records {
		r := &records[i]
		_, _ = fmt.Fprintf(table, "%s\t%v\t%s\t%s\n", r.ID+star(r.Mutable), r.Reclaimable, human(r.Size)+star(r.Shared), dash(ago(r.LastUsedAt)))
	}
	return table.Flush()
}

func printRecords(w io.Writer, records []solver.CacheRecord) error {
	for i := range records {
		r := &records[i]
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, line := range []struct {
			name  string
			value any
		}{
			{"ID", r.ID},
			{"Parents", strings.Join(r.Parents, ",")},
			{"Created at", r.CreatedAt.Format(time.RFC3339)},
			{"Mutable", r.Mutable},
			{"Reclaimable", r.Reclaimable},
			{"Shared", r.Shared},
			{"Size", human(r.Size)},
			{"Description", r.Description},
			{"Usage count", r.UsageCount},
			{"Last used", ago(r.LastUsedAt)},
			{"Type", r.Type},
		} {
			if line.value != "" {
				_, _ = fmt.Fprintf(table, "%s:\t%v\n", line.name, line.value)
			}
		}
		_, _ = fmt.Fprintln(table)
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func printFootprint(w io.Writer, f *solver.Footprint) error {
	least := ""
	if f.Unreadable > 0 {
		least = fmt.Sprintf("at least, %d directories could not be read", f.Unreadable)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "\n%s on disk:\t%s\t%s\n", f.Root, human(f.Total), least)
	for _, p := range f.Parts {
		_, _ = fmt.Fprintf(table, "  %s\t%s\t\n", p.Name, human(p.Size))
	}
	return table.Flush()
}

func human(n int64) string { return units.HumanSize(float64(n)) }

func star(yes bool) string {
	if yes {
		return "*"
	}
	return ""
}

func ago(t *time.Time) string {
	if t == nil {
		return ""
	}
	return units.HumanDuration(time.Since(*t)) + " ago"
}
