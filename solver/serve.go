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
