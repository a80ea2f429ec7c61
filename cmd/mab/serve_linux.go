// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// serve runs the solver in this process if it has namespaces of its own, else in a child that has.
func serve(ctx context.Context, cfg solver.ServeConfig, args []string) error {
	if sandbox.Inside() {
		if err := sandbox.Enter(); err != nil {
			return err
		}
		if err := solver.Serve(ctx, cfg); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	state, err := cfg.State.Resolve()
	if err != nil {
		return err
	}
	// The child is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := sandbox.Start(sandbox.Config{Args: args, Env: insideEnv(state), Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = child.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(stopGrace, func() { _ = child.Process.Kill() })
	})
	defer stop()
	// The solver looks for emulators anew then.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	go func() {
		for range hangups {
			_ = child.Process.Signal(syscall.SIGHUP)
		}
	}()
	err = child.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil, ctx.Err() != nil:
		return nil
	case errors.As(err, &exit) && exit.Exited():
		return ended{exit.ExitCode()}
	}
	// It was killed and could not say why.
	return fmt.Errorf("running the solver: %w", err)
}

// insideEnv is the environment of this program in a sandbox. In there a plain user is root, whose state would be elsewhere.
func insideEnv(state solver.State) []string {
	return append(os.Environ(), "MAB_ROOT="+state.Root, "MAB_RUNTIME_DIR="+state.Runtime)
}

// shim is this program in the place of another; it does not return then.
func shim(std streams) {
	if err := solver.Shim(os.Args); err != nil {
		os.Exit(report(std.err, err))
	}
}

// inSandbox reports whether this is the process that is the solver; what there is to say, the one before it has said.
func inSandbox() bool { return sandbox.Inside() }
