// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// serve runs the solver in this process if it has namespaces of its own, else in a child that has.
func serve(ctx context.Context, cfg solver.ServeConfig, args []string) error {
	if sandbox.Inside() {
		if err := sandbox.Enter(); err != nil {
			return err
		}
		return solver.Serve(ctx, cfg)
	}
	if os.Getuid() != 0 {
		return usage{fmt.Errorf("starting the solver: it needs root for now"), "run it with sudo"}
	}
	// The child is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := sandbox.Start(sandbox.Config{Args: args, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = child.Process.Signal(syscall.SIGTERM) })
	defer stop()
	child.WaitDelay = stopGrace
	err = child.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return fmt.Errorf("the solver ended: %w", err)
	}
	return nil
}
