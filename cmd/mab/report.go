// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/solver"
)

// The exit codes, as docs/build.md tells them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnbuildable = 3
	exitLost        = 4
	exitRefused     = 5
	exitInterrupted = 130 // 128 + SIGINT, as shells count
)

// usage is an error in how the program was called.
type usage struct {
	error
	hint string
}

func (u usage) Usage() bool   { return true }
func (u usage) Hint() string  { return u.hint }
func (u usage) Unwrap() error { return u.error }

// report prints an error with its hint and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	var solverEnded ended
	if errors.As(err, &solverEnded) {
		// Its own message is already there.
		return solverEnded.code
	}
	if code == exitInterrupted {
		_, _ = fmt.Fprintln(w, "mab: error: interrupted; nothing was tagged")
		return code
	}
	var failure *solver.Failure
	if errors.As(err, &failure) && failure.Source != "" {
		_, _ = fmt.Fprintln(w, strings.TrimRight(failure.Source, "\n"))
	}
	for _, refused := range refusals(err) {
		printRefused(w, refused.Report)
	}
	for line := range strings.SplitSeq(printable(err.Error()), "\n") {
		_, _ = fmt.Fprintf(w, "mab: error: %s\n", line)
	}
	var mendable interface{ Hint() string }
	if errors.As(err, &mendable) && mendable.Hint() != "" {
		for line := range strings.SplitSeq(printable(mendable.Hint()), "\n") {
			_, _ = fmt.Fprintf(w, "mab: hint: %s\n", line)
		}
	}
	return code
}

// refusals are the images of all failures that are not as they should be.
func refusals(err error) []*coordinator.ContentsError {
	switch e := err.(type) { //nolint:errorlint // each of several is wanted, and not the first
	case nil:
		return nil
	case *coordinator.ContentsError:
		return []*coordinator.ContentsError{e}
	case interface{ Unwrap() []error }:
		return refusalsIn(e.Unwrap())
	case interface{ WrappedErrors() []error }: // of go-multierror
		return refusalsIn(e.WrappedErrors())
	}
	return refusals(errors.Unwrap(err))
}

func refusalsIn(list []error) []*coordinator.ContentsError {
	var out []*coordinator.ContentsError
	for _, err := range list {
		out = append(out, refusals(err)...)
	}
	return out
}

func exitCode(err error) int {
	var (
		wrong       interface{ Usage() bool }
		unbuildable *coordinator.UnbuildableError
		refused     *coordinator.RefusedError
		failed      interface{ Refused() bool }
		lost        interface{ Lost() bool }
	)
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &unbuildable):
		return exitUnbuildable
	case errors.As(err, &refused), errors.As(err, &failed) && failed.Refused():
		return exitRefused
	case errors.As(err, &lost) && lost.Lost():
		return exitLost
	case errors.As(err, &wrong) && wrong.Usage():
		return exitUsage
	}
	return exitFailed
}
