// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"os"
	"testing"

	"github.com/mab-build/mab/solver"
)

// TestCrashedUnderQEMU has only the step found that waits for its death. The first is what QEMU 7.2.22 was like after a SIGSEGV.
func TestCrashedUnderQEMU(t *testing.T) {
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	const ids = "Name:\tsh\nNSpid:\t21069\t314\t1\n"
	for _, test := range []struct {
		rule, status   string
		first, crashed bool
	}{
		{"SIGSEGV", ids + "SigBlk:\tfffffffe7ffbfaff\nSigIgn:\t0000000000000004\nSigCgt:\tffffffff7781fafb\n", true, true},
		{"another thread of it", ids + "SigBlk:\tfffffffe7ffbfa77\nSigIgn:\t0000000000000004\nSigCgt:\tffffffff7781fafb\n", true, false},
		{"SIGILL, with another C library", ids + "SigBlk:\tfffffffc7ffbfef7\nSigIgn:\t0000000000000000\nSigCgt:\tffffffff7781f6e2\n", true, true},
		{"a program that waits for a SIGSEGV that it handles", ids + "SigBlk:\tfffffffe7ffbfaff\nSigIgn:\t0000000000000000\nSigCgt:\tffffffff7781fefb\n", true, false},
		{"or that it ignores", ids + "SigBlk:\tfffffffe7ffbfaff\nSigIgn:\t0000000000000400\nSigCgt:\tffffffff7781fafb\n", true, false},
		{"one that waits for a SIGUSR1", ids + "SigBlk:\tfffffffe7ffbfcff\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n", true, false},
		{"one that takes everything", ids + "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n", true, false},
		{"a child of a step's", "NSpid:\t21070\t315\t2\n", false, false},
		{"the solver itself", "NSpid:\t1\n", false, false},
		{"this program", string(own), false, false},
		{"none", "", false, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if first, crashed := solver.Crashed(test.status); first != test.first || crashed != test.crashed {
				t.Errorf("first %v, crashed %v", first, crashed)
			}
		})
	}
}
