// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// serveVar has this program be a solver of the state in that directory.
const serveVar = "MAB_TEST_SERVE"

// TestMain is a solver where a test wants one. It ends one that a test started by mistake: it would be this program, and run the tests again.
func TestMain(m *testing.M) {
	if os.Getenv("MAB_SANDBOX") == "" {
		os.Exit(m.Run())
	}
	if err := serveHere(os.Getenv(serveVar)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveHere(root string) error {
	if root == "" {
		return errors.New("no test wants a solver here")
	}
	if err := sandbox.Enter(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return solver.Serve(ctx, solver.ServeConfig{State: solver.State{Root: root}, Ready: func() { fmt.Println("ready") }})
}
