// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// AttachConfig says which solver Attach connects to, and how one is started where none runs.
type AttachConfig struct {
	State State
	// Idle is how long a started solver waits without a connection before it stops. Zero: 15 minutes.
	Idle time.Duration
	// Config is that of a solver which is started. One that builds started with another config is started anew when no build runs.
	Config Config
	// Note takes what the user should know of the config. Nil discards it.
	Note func(string)
}

// DefaultIdle is how long a solver that was started on demand waits for the next build.
const DefaultIdle = 15 * time.Minute

func (c AttachConfig) args(state State) []string {
	idle := c.Idle
	if idle == 0 {
		idle = DefaultIdle
	}
	return []string{"--root", state.Root, "--runtime", state.Runtime, "--idle", idle.String(), "--config=" + c.Config.File}
}

// tailLines is how much of the log an error shows.
const tailLines = 12

// startLine begins what one solver writes into the log.
const startLine = "solver starting"

// LogTail returns the last lines that the newest solver which was started on demand wrote into its log; empty if there are none. Of
// a stack trace it is the first lines, which say what happened.
func LogTail(state State) string {
	state, err := state.Resolve()
	if err != nil {
		return ""
	}
	f, err := os.Open(state.Log())
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	const most = 8 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	buf := make([]byte, most)
	n, _ := f.Read(buf)
	return tail(string(buf[:n]))
}

func tail(text string) string {
	if i := strings.LastIndex(text, startLine); i >= 0 {
		_, text, _ = strings.Cut(text[i:], "\n")
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "unexpected fault ") {
			return strings.Join(lines[i:min(len(lines), i+tailLines)], "\n")
		}
	}
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// startError is a solver that did not come up.
type startError struct {
	err error
	log string
}

func (e *startError) Error() string {
	text := "starting the solver"
	if e.err != nil {
		text += fmt.Sprintf(": %v", e.err)
	}
	if e.log != "" {
		text += "; the end of its log:\n" + e.log
	}
	return text
}

// Unwrap gives the cause.
func (e *startError) Unwrap() error { return e.err }
