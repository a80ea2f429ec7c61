// SPDX-License-Identifier: Apache-2.0

// Package readertest builds the program that reads bake files, for tests of what runs it.
package readertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Run builds the reader from the directory source to where tests find it, beside their own program, runs them, and removes it. It returns what the
// program is to exit with.
func Run(tests interface{ Run() int }, source string) int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	reader := filepath.Join(filepath.Dir(self), "mab-bake")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", reader, ".")
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program that reads bake files: %v\n%s", err, out)
		return 1
	}
	defer func() { _ = os.Remove(reader) }()
	return tests.Run()
}
