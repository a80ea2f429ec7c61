// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

const (
	nodeReady       = "ready"
	nodeUnreachable = "unreachable"
	nodeUnknown     = "unknown" // nobody looked
)

// nodeReport is a node as --json has it: docs/nodes.md tells the keys.
type nodeReport struct {
	nodes.Entry
	Status string `json:"status"`
	// Error and Hint say why it is unreachable.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Took is how long it took to find out, in seconds.
	Took     float64         `json:"took_seconds"`
	Info     *nodes.Info     `json:"info,omitempty"`
	Problems []nodes.Problem `json:"problems,omitempty"`
}

func newNodeReport(found coordinator.Found) nodeReport {
	out := nodeReport{Entry: found.Node.Entry, Status: nodeReady, Took: found.Took.Seconds()}
	if found.Err == nil {
		out.Info, out.Problems = &found.Node.Info, found.Node.Problems()
		return out
	}
	out.Status, out.Error = nodeUnreachable, found.Err.Error()
	var mendable interface{ Hint() string }
	if errors.As(found.Err, &mendable) {
		out.Hint = mendable.Hint()
	}
	return out
}

func nodeReports(found []coordinator.Found) []nodeReport {
	out := make([]nodeReport, len(found))
	for i, f := range found {
		out[i] = newNodeReport(f)
	}
	return out
}

func printNodes(to io.Writer, reports []nodeReport) error {
	w := printing{to}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tURL\tSTATUS\tPLATFORMS\tCPUS\tMEMORY\tDISK-FREE\tRUNNING\tLATENCY")
	for _, r := range reports {
		row := []string{r.Name, r.URL, r.Status, "-", "-", "-", "-", "-", "-"}
		if r.Info != nil {
			m := r.Info.Machine
			row = append(row[:3], platformsOf(r.Info.Survey), count(m.CPUs), size(m.Memory), size(m.Free), strconv.Itoa(r.Info.Running), seconds(r.Info.Latency))
		}
		_, _ = fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range reports {
		if r.Status == nodeReady {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n%s", reason(r)); err != nil {
			return err
		}
	}
	return nil
}

// reason is why a node is unreachable, and the mend.
func reason(r nodeReport) string {
	out := strings.ReplaceAll(r.Error, "\n", "\n  ") + "\n"
	if !strings.Contains(out, strconv.Quote(r.Name)) {
		out = r.Name + ": " + out
	}
	if r.Hint != "" {
		out += "  mend: " + strings.ReplaceAll(r.Hint, "\n", "\n  mend: ") + "\n"
	}
	return out
}

// platformsOf is what a node runs: natively by name, the highest variant of each architecture, and how many architectures emulated.
func platformsOf(survey []emulation.Support) string {
	var native []platforms.Platform
	best, emulated := map[string]int{}, map[string]bool{}
	for _, s := range survey {
		p := s.Platform
		base := p.OS + "/" + p.Architecture
		switch i, known := best[base]; {
		case s.How == emulation.Emulated:
			emulated[base] = true
		case s.How != emulation.Native:
		case !known:
			best[base] = len(native)
			native = append(native, p)
		case p.Covers(native[i]):
			native[i] = p
		}
	}
	for base := range best {
		delete(emulated, base)
	}
	names := make([]string, len(native))
	for i, p := range native {
		names[i] = p.String()
	}
	out := dash(strings.Join(names, ","))
	if len(emulated) > 0 {
		out += fmt.Sprintf(" +%d emulated", len(emulated))
	}
	return out
}

func printNode(to io.Writer, r nodeReport) error {
	w := printing{to}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" && value != "-" {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	i, m := r.Info, r.Info.Machine
	line("NAME", r.Name)
	line("URL", r.URL)
	line("SLOTS", count(r.Slots))
	line("CPU", m.Model)
	line("CPUS", count(m.CPUs))
	line("MEMORY", part(m.Available, m.Memory, "available"))
	line("DISK", part(m.Free, m.Disk, "free"))
	line("KERNEL", m.Kernel)
	if m.CPUs > 0 {
		line("LOAD", strconv.FormatFloat(m.Load, 'f', 2, 64))
	}
	line("RUNNING", strconv.Itoa(i.Running))
	line("LATENCY", seconds(i.Latency))
	line("UP", rate(i.Up))
	line("DOWN", rate(i.Down))
	if err := table.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(w)
	_, _ = fmt.Fprintln(table, "PLATFORM\tHOW\tQEMU\tSCORE\tPROBLEM")
	for _, s := range i.Survey {
		problem := s.Problem
		if s.Mend != "" {
			problem += "; mend: " + s.Mend
		}
		_, _ = fmt.Fprintln(table, strings.TrimRight(fmt.Sprintf("%s\t%s\t%s\t%s\t%s", s.Platform, s.How, dash(s.Version), score(s), problem), "\t"))
	}
	return table.Flush()
}

// printNodeChecks prints a line for each node, and below it what is wrong and the mend.
func printNodeChecks(to io.Writer, reports []nodeReport) error {
	w := printing{to}
	width := 0
	for _, r := range reports {
		width = max(width, len(r.Name))
	}
	var err error
	say := func(format string, args ...any) {
		_, failed := fmt.Fprintf(w, format, args...)
		err = errors.Join(err, failed)
	}
	indent := strings.Repeat(" ", width+2)
	for _, r := range reports {
		if r.Info == nil {
			say("%-*s  unreachable: %s\n", width, r.Name, strings.ReplaceAll(r.Error, "\n", "\n"+indent))
			if r.Hint != "" {
				say("%smend: %s\n", indent, strings.ReplaceAll(r.Hint, "\n", "\n"+indent+"mend: "))
			}
			continue
		}
		say("%-*s  %s\n", width, r.Name, strings.Join(verdict(r), ", "))
		if list := scores(r.Info.Survey); len(list) > 0 {
			say("%sscore: %s\n", indent, strings.Join(list, ", "))
		}
		for _, p := range r.Problems {
			say("%sproblem: %s\n", indent, p.Problem)
			if p.Mend != "" {
				say("%smend: %s\n", indent, p.Mend)
			}
		}
	}
	return err
}

// verdict is what the check found of a node that answers.
func verdict(r nodeReport) []string {
	out := []string{"ok"}
	if len(r.Problems) > 0 {
		out[0] = "has problems"
	}
	out = append(out, platformsOf(r.Info.Survey), "latency "+seconds(r.Info.Latency))
	if r.Info.Up > 0 {
		out = append(out, rate(r.Info.Up)+" up")
	}
	if r.Info.Down > 0 {
		out = append(out, rate(r.Info.Down)+" down")
	}
	return out
}

// scores are those of the first platform of each architecture that has one.
func scores(survey []emulation.Support) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range survey {
		if s.Score == 0 || seen[s.Platform.Architecture] {
			continue
		}
		seen[s.Platform.Architecture] = true
		out = append(out, fmt.Sprintf("%s %s %s", s.Platform, s.How, score(s)))
	}
	return out
}

func score(s emulation.Support) string {
	if s.Score == 0 {
		return "-"
	}
	return strconv.FormatFloat(s.Score, 'f', 1, 64)
}

func count(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func size(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return units.HumanSize(float64(bytes))
}

func part(some, all int64, what string) string {
	if all == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s %s", units.HumanSize(float64(all)), units.HumanSize(float64(some)), what)
}

func rate(bytes float64) string {
	if bytes == 0 {
		return "-"
	}
	return units.HumanSize(bytes) + "/s"
}

func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	d := time.Duration(s * float64(time.Second))
	if d < time.Millisecond {
		return d.Round(time.Microsecond).String()
	}
	return d.Round(time.Millisecond / 10).String()
}
