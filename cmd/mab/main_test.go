// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"testing"

	"github.com/mab-build/mab/bake/readertest"
)

// TestMain ends a solver that a test started by mistake: it would be this program, and run the tests again.
func TestMain(m *testing.M) {
	if os.Getenv("MAB_SANDBOX") != "" {
		os.Exit(1)
	}
	os.Exit(readertest.Run(m, "../../bake/module"))
}
