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
