// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"strings"
	"testing"

	"github.com/mab-build/mab/solver"
)

func TestRunningSolverIsTheOneWanted(t *testing.T) {
	config := solver.Config{File: "/etc/mab/buildkitd.toml"}
	for _, test := range []struct {
		rule         string
		info         solver.Info
		others, busy string
	}{
		{"the same mab with the same config", solver.Info{Mab: "2.0", Config: config.Digest()}, "", ""},
		{"another config", solver.Info{Mab: "2.0", Config: "x"}, "was not started with /etc/mab/buildkitd.toml", "the config has changed"},
		{"an older mab", solver.Info{Mab: "1.9", Config: config.Digest()}, "of mab 1.9, this is mab 2.0; to start", "of mab 1.9, this is mab 2.0, whose own"},
		{"a newer one, too", solver.Info{Mab: "2.1", Config: "x"}, "of mab 2.1", "of mab 2.1"},
		{"one that does not say", solver.Info{Config: config.Digest()}, "of mab before 1.0", "of mab before 1.0"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			others, busy := solver.Difference(solver.AttachConfig{Config: config}, test.info, solver.State{Version: "2.0"})
			if (others == "") != (test.others == "") || !strings.Contains(others, test.others) {
				t.Errorf("of a solver that others started: %q, want %q", others, test.others)
			}
			if (busy == "") != (test.busy == "") || !strings.Contains(busy, test.busy) {
				t.Errorf("during builds: %q, want %q", busy, test.busy)
			}
		})
	}
}
