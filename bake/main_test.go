// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	"os"
	"testing"

	"github.com/mab-build/mab/bake/readertest"
)

func TestMain(m *testing.M) { os.Exit(readertest.Run(m, "module")) }
