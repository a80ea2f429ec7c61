// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"errors"
	"net"
	"time"
)

// Config says how nodes are reached. The zero value reaches them as OpenSSH would, and asks nobody.
type Config struct {
	// Timeout is for everything until a node answers, but for sending mab to it. Zero: 10 s.
	Timeout time.Duration
	// AcceptNewHostKey takes the key of a host that was never seen, and remembers it.
	AcceptNewHostKey bool
	// Ask asks the user for a secret, such as a key's passphrase. Nil: nobody can be asked.
	Ask func(ctx context.Context, prompt string) (string, error)
	// Programs are directories with mab-linux-ARCH files. Nil: $MAB_DIST, then that of the running program.
	Programs []string
	// Solver is what a solver that is started on a node is told.
	Solver SolverConfig
	// Note takes what the user should know, in a line each. Nil: nobody is told.
	Note func(text string)
}

// SolverConfig is what a solver on another machine is started with. It is plain data: files travel as their content.
type SolverConfig struct {
	// Toml is a buildkitd.toml, and Files those that it names by NAME. Empty: the node's own.
	Toml  string            `json:"toml,omitempty"`
	Files map[string][]byte `json:"files,omitempty"`
}

// Reached is a node whose solver can be talked to. It is safe for several goroutines. The caller closes it.
type Reached struct{}

// Reach connects to a node, brings mab there if the endpoint needs it, and has its solver started. The local node is not reached by it.
// Errors name the node, and have a Hint where the user can mend it.
func Reach(ctx context.Context, e Entry, cfg Config) (*Reached, error) {
	return nil, errors.New("not there yet")
}

// Dial opens a connection that speaks BuildKit's API. It ends with the Reached.
func (r *Reached) Dial(ctx context.Context) (net.Conn, error) { return nil, errors.ErrUnsupported }

// Done is closed when the link to the node was lost; Err tells then why.
func (r *Reached) Done() <-chan struct{} { return nil }

// Err is why the link was lost; nil while it holds.
func (r *Reached) Err() error { return nil }

// Latency is how long a question and its answer took when the node was reached.
func (r *Reached) Latency() time.Duration { return 0 }

// Log returns the end of the log of the node's solver, at most lines; empty where there is none to be had.
func (r *Reached) Log(ctx context.Context, lines int) (string, error) { return "", nil }

// Close ends the link. The node's solver goes on for others, and stops when it is idle.
func (r *Reached) Close() error { return nil }
