// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// listEmulation shows what the solver would find: it looks from namespaces such as the solver's.
func listEmulation(ctx context.Context, asJSON bool, o *options) error {
	state, err := o.state.Resolve()
	if err != nil {
		return err
	}
	store := state.Emulators()
	if sandbox.Inside() {
		if err := sandbox.Enter(); err != nil {
			return err
		}
		survey, err := solver.Emulate(ctx, solver.EmulateConfig{
			Store: store, Scores: state.Scores(), Measurements: state.Measurements(), Log: slog.New(slog.NewTextHandler(o.std.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		if err == nil {
			err = printSurvey(o.std.out, survey, asJSON)
		}
		if err != nil {
			return err
		}
		printChoices(o.std.err, survey)
		return printHidden(o.std.err, survey, store)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := sandbox.Start(sandbox.Config{Args: os.Args[1:], Env: insideEnv(state), Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	if err := child.Wait(); err != nil {
		return fmt.Errorf("looking from the solver's namespaces: %w", err)
	}
	return nil
}
