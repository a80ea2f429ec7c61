// SPDX-License-Identifier: Apache-2.0

// Mab builds container images for many architectures. This package holds flags, messages and exit codes; nothing else of the
// program prints, and nothing else exits.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/moby/sys/reexec"

	"github.com/mab-build/mab/solver"
)

// version is set when the program is linked.
var version = "dev" //nolint:gochecknoglobals // -ldflags -X needs a variable

func main() {
	solver.SizeBuffers()
	// BuildKit starts the program again for what must happen in other namespaces.
	if reexec.Init() {
		return
	}
	std := streams{os.Stdin, os.Stdout, os.Stderr}
	shim(std)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once, by its default. timeout(1) sends one signal twice, which is no second one.
	context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })
	os.Exit(run(ctx, os.Args[1:], std))
}

// sameSignal is how long a signal that comes again is the same one.
const sameSignal = 50 * time.Millisecond

type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is the whole program but for the process around it. It returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	logTo(std.err, len(args) > 0 && args[0] == "serve")
	cmd := newRoot(std)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	return report(std.err, err)
}
