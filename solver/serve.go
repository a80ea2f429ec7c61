// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"log/slog"
	"time"
)

// ServeConfig says how Serve runs. The zero value serves the current user's state until ctx ends.
type ServeConfig struct {
	State State
	// Idle stops the solver after that long without a connection. Zero or less: never.
	Idle   time.Duration
	Limits Limits
	// Config is what a buildkitd.toml says. Its Listen is not followed: see Listen.
	Config Config
	// Listen says where others are served.
	Listen Listening
	// Entitlements are what builds may ask for. Nil: those of Config; else both of them, but none where others are served.
	Entitlements []string
	// OnDemand tells builds that nobody but them started this solver, so that they may start it anew with another config.
	OnDemand bool
	// Ready is told once when the socket answers.
	Ready func()
	// Log takes what mab itself has to say. Nil discards. BuildKit logs by logrus, to standard error.
	Log *slog.Logger
}

// Limits bound what a solver keeps. A zero field means BuildKit's default.
type Limits struct {
	// CacheSize is the most the cache may take on disk, in bytes.
	CacheSize int64
	// CacheAge is how long an unused cache entry is kept.
	CacheAge time.Duration
}
