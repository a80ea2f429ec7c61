// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMain builds the reader to where the tests find it: beside their own program.
func TestMain(m *testing.M) { os.Exit(withReader(m)) }

func withReader(m *testing.M) int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	reader := filepath.Join(filepath.Dir(self), "mab-bake")
	build := exec.Command("go", "build", "-o", reader, ".")
	build.Dir = "module"
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program that reads bake files: %v\n%s", err, out)
		return 1
	}
	defer func() { _ = os.Remove(reader) }()
	return m.Run()
}
