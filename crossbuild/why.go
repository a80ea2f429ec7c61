// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mab-build/mab/platforms"
)

func whyNative(all []Demand) string {
	if len(all) == 0 {
		return "no step runs anything: files are only copied"
	}
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.Platform.String()
	}
	return fmt.Sprintf("the node runs %s natively: %s", join(names, "and"), runSteps(execs(all)))
}

func whyCross(target platforms.Platform, all []Demand) string {
	if len(all) == 0 {
		return fmt.Sprintf("no step runs %s code: files are only copied", target)
	}
	verb := "run "
	if len(all[0].Execs) == 1 {
		verb = "runs "
	}
	parts := make([]string, len(all))
	for i, d := range all {
		parts[i] = fmt.Sprintf("%d %son %s", len(d.Execs), verb, d.Platform)
		verb = ""
	}
	return fmt.Sprintf("no step runs %s code: %s, the rest copies", target, strings.Join(parts, ", "))
}

func whyEmulated(all, foreign []Demand, emulators map[platforms.Platform]string) string {
	var names []string
	for _, d := range foreign {
		if n := emulators[d.Platform]; !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	under := join(names, "and")
	n, of := execs(foreign), execs(all)
	switch {
	case of == 1:
		return "the only RUN step runs under " + under
	case n == of && n == 2:
		return "both RUN steps run under " + under
	case n == of:
		return fmt.Sprintf("all %d RUN steps run under %s", n, under)
	case n == 1:
		return fmt.Sprintf("1 of %d RUN steps runs under %s", of, under)
	}
	return fmt.Sprintf("%d of %d RUN steps run under %s", n, of, under)
}

func whyAssisted(d *Decision, of int, emulators map[platforms.Platform]string) string {
	var under, tools []string
	n := 0
	for i := range d.Steps {
		h := &d.Steps[i]
		if h.Aid == nil {
			continue
		}
		n++
		if name := emulators[h.Step.Platform]; !slices.Contains(under, name) {
			under = append(under, name)
		}
		for _, name := range h.Aid.Toolchains() {
			if t, _ := toolchain(name); !slices.Contains(tools, t.Title) {
				tools = append(tools, t.Title)
			}
		}
	}
	verb := "run"
	if n == 1 {
		verb = "runs"
	}
	subject := fmt.Sprintf("%d of %d RUN steps %s", n, of, verb)
	switch {
	case of == 1:
		subject = "the only RUN step runs"
	case n == of && n == 2:
		subject = "both RUN steps run"
	case n == of:
		subject = fmt.Sprintf("all %d RUN steps run", n)
	}
	text := fmt.Sprintf("%s under %s with the tools of %s native", subject, join(under, "and"), join(tools, "and"))
	if more := d.Count(RunsEmulated); more > 0 {
		text += fmt.Sprintf(", %d more wholly under it", more)
	}
	return text
}

func whyForeign(foreign []Demand, anywhere func(platforms.Platform) bool) string {
	var nowhere, elsewhere []string
	for _, d := range foreign {
		if anywhere == nil || anywhere(d.Platform) {
			elsewhere = append(elsewhere, d.Platform.String())
		} else {
			nowhere = append(nowhere, d.Platform.String())
		}
	}
	var parts []string
	if len(nowhere) > 0 {
		parts = append(parts, fmt.Sprintf("no node runs %s natively", join(nowhere, "or")))
	}
	if len(elsewhere) > 0 {
		parts = append(parts, fmt.Sprintf("this node does not run %s natively", join(elsewhere, "or")))
	}
	return join(parts, "and")
}

func execs(demands []Demand) int {
	n := 0
	for _, d := range demands {
		n += len(d.Execs)
	}
	return n
}

func runSteps(n int) string {
	if n == 1 {
		return "1 RUN step"
	}
	return fmt.Sprintf("%d RUN steps", n)
}

// join writes "a, b and c", with the word given before the last.
func join(items []string, word string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], ", ") + " " + word + " " + items[last]
}
