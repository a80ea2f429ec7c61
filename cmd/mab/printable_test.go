// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	mab "github.com/mab-build/mab/cmd/mab"
)

// TestTerminalsAreToldNothing is about machines that write what a terminal would obey.
func TestTerminalsAreToldNothing(t *testing.T) {
	const evil = "\x1b]0;title\x07\x1b[2Jno\r\u009b31mspace\x9b\x7f"
	list := found()
	list[0].Node.Info.Machine.Model, list[0].Node.Info.Machine.Kernel = evil, evil
	list[0].Node.Info.Survey[3].Version, list[0].Node.Info.Survey[4].Problem, list[0].Node.Info.Survey[4].Mend = evil, evil, evil
	list[1].Err = mab.NewUsage(errors.New(evil), evil)
	var got strings.Builder
	for rule, err := range map[string]error{
		"ls":      mab.PrintNodes(&got, list),
		"inspect": mab.PrintNode(&got, list[0]),
		"note":    mab.Note(&got, evil),
	} {
		if err != nil {
			t.Errorf("%s: %v", rule, err)
		}
	}
	// Its error is that the nodes have problems.
	_ = mab.PrintNodeChecks(&got, list)
	_ = mab.Report(&got, list[1].Err)
	if strings.Count(got.String(), "no") < 6 {
		t.Errorf("a text is missing: %q", got.String())
	}
	if strings.ContainsAny(got.String(), "\x1b\x07\r\u009b\x7f") || !utf8.ValidString(got.String()) {
		t.Errorf("a terminal would obey %q", got.String())
	}
}
