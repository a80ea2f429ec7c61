// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
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
	// Version is what this mab calls itself.
	Version string
	// Programs are directories with mab-linux-ARCH files. Nil: $MAB_DIST, then that of the running program.
	Programs []string
	// Solver is what a solver that is started on a node is told.
	Solver SolverConfig
	// Note takes what the user should know, in a line each. Nil: nobody is told.
	Note func(text string)
	// Keep has the links of Reach outlive what they are made for. Nil: they do not.
	Keep *Keep
}

// SolverConfig is what a solver on another machine is started with. It is plain data: files travel as their content.
type SolverConfig struct {
	// Toml is a buildkitd.toml, and Files those that it names by NAME. Empty: the node's own.
	Toml  string            `json:"toml,omitempty"`
	Files map[string][]byte `json:"files,omitempty"`
}

// Reached is a node whose solver can be talked to. It is safe for several goroutines. The caller closes it.
type Reached struct {
	name    string
	way     way
	latency time.Duration
	spare   spare
}

// way is how a solver is got at.
type way interface {
	// dial opens a connection to the solver.
	dial(ctx context.Context) (net.Conn, error)
	// done and err are those of Reached.
	done() <-chan struct{}
	err() error
	log(ctx context.Context, lines int) (string, error)
	close() error
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultTimeout
	}
	return c.Timeout
}

// Reach connects to a node, brings mab there if the endpoint needs it, and has its solver started. The local node is not reached by it.
// Errors name the node, and have a Hint where the user can mend it.
func Reach(ctx context.Context, e Entry, cfg Config) (*Reached, error) {
	r, err := reach(ctx, e, cfg)
	if err != nil {
		return nil, named(e, err)
	}
	return r, nil
}

func reach(ctx context.Context, e Entry, cfg Config) (*Reached, error) {
	want := cfg.want(e)
	if want != nil {
		if r, err := reachKept(ctx, e, cfg, *want); err == nil || ctx.Err() != nil {
			return r, err
		}
	}
	w, err := wayTo(ctx, e, cfg)
	if err != nil {
		return nil, err
	}
	if l, ok := w.(linked); ok && want != nil {
		// A host key may have been accepted on the way.
		w = offering{l, cfg.Keep, *cmp.Or(cfg.want(e), want)}
	}
	return reachBy(ctx, e, w)
}

// wayTo makes the link, where there is to be one.
func wayTo(ctx context.Context, e Entry, cfg Config) (way, error) {
	at, err := ParseURL(e.URL)
	if err != nil {
		return nil, err
	}
	switch at.Kind {
	case SSH, SSHUnix:
		return reachLink(ctx, cmp.Or(e.Name, e.URL), at, cfg)
	case Unix, TCP:
		return direct{e, cfg}, nil
	}
	return nil, fmt.Errorf("%q is no other machine", e.URL)
}

// reachBy connects once, which shows that the solver is there.
func reachBy(ctx context.Context, e Entry, w way) (*Reached, error) {
	r := &Reached{name: e.Name, way: w}
	asked := time.Now()
	conn, err := w.dial(ctx)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	r.spare.put(conn)
	r.latency = time.Since(asked)
	if l, ok := w.(pinger); ok {
		if r.latency, err = l.ping(ctx); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// pinger is a way that can be measured without its solver.
type pinger interface {
	ping(ctx context.Context) (time.Duration, error)
}

// named has an error name the node, unless it does already.
func named(e Entry, err error) error {
	var already *directError
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &reachError{cmp.Or(e.Name, e.URL), err}
}

// Dial opens a connection that speaks BuildKit's API. It ends with the Reached.
func (r *Reached) Dial(ctx context.Context) (net.Conn, error) {
	if conn := r.spare.take(); conn != nil {
		return conn, nil
	}
	conn, err := r.way.dial(ctx)
	if err != nil {
		return nil, named(Entry{Name: r.name}, err)
	}
	return conn, nil
}

// Done is closed when the link to the node was lost; Err tells then why. Of endpoints without a link it is nil.
func (r *Reached) Done() <-chan struct{} { return r.way.done() }

// Err is why the link was lost; nil while it holds.
func (r *Reached) Err() error {
	return named(Entry{Name: r.name}, r.way.err())
}

// Latency is how long a question and its answer took when the node was reached.
func (r *Reached) Latency() time.Duration { return r.latency }

// Log returns the end of the log of the node's solver, at most lines; empty where there is none to be had.
func (r *Reached) Log(ctx context.Context, lines int) (string, error) {
	text, err := r.way.log(ctx, lines)
	return text, named(Entry{Name: r.name}, err)
}

// Close ends the link. The node's solver goes on for others, and stops when it is idle.
func (r *Reached) Close() error {
	if conn := r.spare.take(); conn != nil {
		_ = conn.Close()
	}
	return r.way.close()
}

// spare is the connection that showed that the node answers, for the first who wants one. A solver ends those that say nothing for long.
type spare struct {
	mu   sync.Mutex
	conn net.Conn
	at   time.Time
}

const spareFor = 3 * time.Second

func (s *spare) put(conn net.Conn) { s.conn, s.at = conn, time.Now() }

func (s *spare) take() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.conn
	s.conn = nil
	if conn != nil && time.Since(s.at) > spareFor {
		_ = conn.Close()
		return nil
	}
	return conn
}

// direct is a solver that listens on an address.
type direct struct {
	entry Entry
	cfg   Config
}

func (d direct) dial(ctx context.Context) (net.Conn, error) { return dialDirect(ctx, d.entry, d.cfg) }
func (d direct) done() <-chan struct{}                      { return nil }
func (d direct) err() error                                 { return nil }
func (d direct) log(context.Context, int) (string, error)   { return "", nil }
func (d direct) close() error                               { return nil }

// Logs returns the end of the log of a node's solver, at most lines, whether that starts or not; empty where there is none to be had.
func Logs(ctx context.Context, e Entry, cfg Config, lines int) (text string, err error) {
	err = with(ctx, e, cfg, func(w way) (err error) {
		text, err = w.log(ctx, lines)
		return err
	})
	return text, answered(e, err)
}

// Purge takes everything off a node that mab has put there for this user: the solver with its cache, and mab itself. While a build runs there, it
// refuses unless it is forced. At endpoints to which nothing is brought it does nothing.
func Purge(ctx context.Context, e Entry, cfg Config, force bool) error {
	err := with(ctx, e, cfg, func(w way) error {
		if l, ok := w.(linked); ok {
			return l.purge(ctx, force)
		}
		return nil
	})
	return answered(e, err)
}

// answered names the node in an error that it may have answered with: then it is not lost.
func answered(e Entry, err error) error {
	var lost interface{ Lost() bool }
	if err == nil || errors.As(err, &lost) && lost.Lost() {
		return named(e, err)
	}
	return fmt.Errorf("node %q: %w", cmp.Or(e.Name, e.URL), err)
}

// with connects to a node, but not to its solver.
func with(ctx context.Context, e Entry, cfg Config, do func(way) error) error {
	w, err := wayTo(ctx, e, cfg)
	if err != nil {
		return err
	}
	return errors.Join(do(w), w.close())
}
