// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mab-build/mab/coordinator"
)

// emulatedTimeoutVariable is the default of --emulated-timeout.
const emulatedTimeoutVariable = "MAB_EMULATED_TIMEOUT"

// timeLimit is the flag --emulated-timeout.
type timeLimit time.Duration

func (l *timeLimit) String() string { return "" }
func (l *timeLimit) Type() string   { return "time" }

// Set takes no time below zero: whoever writes one means something else.
func (l *timeLimit) Set(s string) error {
	limit, err := time.ParseDuration(s)
	if err != nil || limit < 0 {
		return errors.New("no time, such as 90s or 10m; 0: no limit")
	}
	*l = timeLimit(limit)
	return nil
}

// emulatedTimeout is the request's, if no flag has set it what the variable says.
func emulatedTimeout(r *coordinator.Request, flagged bool) error {
	text := os.Getenv(emulatedTimeoutVariable)
	if flagged || text == "" {
		return nil
	}
	if err := (*timeLimit)(&r.EmulatedTimeout).Set(text); err != nil {
		return usage{fmt.Errorf("reading %s=%q: %w", emulatedTimeoutVariable, text, err), "write a time such as 90s or 10m, or unset it"}
	}
	return nil
}
