// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/nodes/link"
)

// Keep has links outlive a build: when a build is done with a node, a process of the same user, the keeper, is asked to log in there too, and builds
// after it go through its link until nobody did for a while. The zero value keeps none. It is for one build, and safe for several goroutines.
type Keep struct {
	// Socket is the path of the keeper's socket, in a directory that nobody else may write to. Empty: nothing is kept.
	Socket string
	// Start starts a keeper and returns its standard input, for lines of what it is to keep.
	Start func() (io.WriteCloser, error)

	mu      sync.Mutex
	started io.WriteCloser
	failed  error
}

// errand is the first line that a build writes to a keeper, as JSON.
type errand struct {
	// Mark is the link that it is about. Without more, the build holds the link until it hangs up.
	Mark string `json:"mark"`
	// Dial makes the connection one to the solver; Wanted asks the keeper to have such a link.
	Dial   bool    `json:"dial,omitempty"`
	Wanted *wanted `json:"wanted,omitempty"`
}

// wanted is all that a keeper needs to make a link. Keys for it stay in their files and agents; what the solver is told may hold keys of registries,
// and stays in memory.
type wanted struct {
	Entry  Entry             `json:"entry"`
	Config keepable          `json:"config"`
	Home   string            `json:"home"`
	Env    map[string]string `json:"env"`
}

// keepable is the part of a Config that counts for a keeper.
type keepable struct {
	Timeout  time.Duration `json:"timeout"`
	Version  string        `json:"version"`
	Programs []string      `json:"programs"`
	Solver   SolverConfig  `json:"solver"`
}

// verdict is a line that a keeper writes, as JSON: whether it does the errand, and of a link that is held why it was lost.
type verdict struct {
	No   string `json:"no,omitempty"`
	Lost string `json:"lost,omitempty"`
}

// keepingWait is how long a keeper may take for an answer before the build logs in by itself: a link may be dead that is not known to be.
const keepingWait = 2 * time.Second

// want describes the link that a build wants; nil if it cannot be one that is kept.
func (c Config) want(e Entry) *errand {
	at, err := ParseURL(e.URL)
	if c.Keep == nil || c.Keep.Socket == "" || err != nil || at.Kind != SSH {
		return nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	w := &wanted{Entry: Entry{Name: e.Name, URL: e.URL}, Home: home, Env: map[string]string{},
		Config: keepable{Timeout: c.Timeout, Version: c.Version, Programs: c.Programs, Solver: c.Solver}}
	mark, err := w.mark(at, func(name string) string {
		w.Env[name] = os.Getenv(name)
		return w.Env[name]
	})
	if err != nil || mark == "" {
		return nil
	}
	return &errand{Mark: mark, Wanted: w}
}

// link is how the link is made.
func (w *wanted) link(at Endpoint, getenv func(string) string) link.Config {
	return link.Config{Host: at.Host, User: at.User, Port: at.Port, Home: w.Home, Timeout: w.Config.Timeout, Getenv: getenv}
}

// mark is that of the link, and of what the node's mab is asked for; empty if it cannot be kept.
func (w *wanted) mark(at Endpoint, getenv func(string) string) (string, error) {
	mark, err := link.Mark(w.link(at, getenv))
	if err != nil || mark == "" {
		return "", err
	}
	text, err := json.Marshal(w.Config)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(mark), text...))
	return hex.EncodeToString(sum[:]), nil
}

// ask gives a keeper an errand. The connection is what goes on after a good answer.
func (k *Keep) ask(ctx context.Context, e errand) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, keepingWait, &silentError{keepingWait})
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", k.Socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	text, err := json.Marshal(e)
	if err == nil {
		_, err = conn.Write(append(text, '\n'))
	}
	joined := &joined{Conn: conn, r: bufio.NewReader(conn)}
	var v verdict
	if err == nil {
		v, err = readVerdict(joined.r)
	}
	if err == nil && v.No != "" {
		err = errors.New(v.No)
	}
	if err == nil && !stop() {
		err = ended(ctx, ctx.Err())
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return joined, nil
}

func readVerdict(r *bufio.Reader) (v verdict, err error) {
	line, err := readLine(r, maxNoise)
	if err == nil {
		err = json.Unmarshal(line, &v)
	}
	return v, err
}

// offer has a keeper know the link, and starts one if there is none. What goes wrong costs the next build a login, no more.
func (k *Keep) offer(e errand) {
	ctx, cancel := context.WithTimeout(context.Background(), keepingWait)
	defer cancel()
	if conn, err := k.ask(ctx, e); err == nil {
		_ = conn.Close()
		return
	}
	text, err := json.Marshal(e)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.started == nil && k.failed == nil {
		k.started, k.failed = k.Start()
	}
	if k.failed == nil {
		_, k.failed = k.started.Write(append(text, '\n'))
	}
}

// kept is a solver that a keeper's link leads to.
type kept struct {
	keep   *Keep
	errand errand
	entry  Entry
	cfg    Config
	hold   net.Conn
	group  errgroup.Group
	over   chan struct{}

	mu  sync.Mutex
	why error
	// conns are those to the solver.
	conns []net.Conn
}

// reachKept connects by a keeper's link, if it has the one that is wanted.
func reachKept(ctx context.Context, e Entry, cfg Config, want errand) (*Reached, error) {
	hold, err := cfg.Keep.ask(ctx, errand{Mark: want.Mark})
	if err != nil {
		return nil, err
	}
	k := &kept{keep: cfg.Keep, errand: want, entry: e, cfg: cfg, hold: hold, over: make(chan struct{})}
	k.group.Go(func() error {
		k.watch()
		return nil
	})
	return reachBy(ctx, e, k)
}

// watch waits for the end of the link.
func (k *kept) watch() {
	v, err := readVerdict(k.hold.(*joined).r)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.why == nil {
		k.why = &keptError{cause: v.Lost}
		if err != nil {
			k.why = &keptError{cause: "the process that kept the link ended"}
		}
	}
	close(k.over)
}

// keptError is a keeper's link that was lost.
type keptError struct{ cause string }

func (e *keptError) Error() string { return e.cause }

// Lost says that the node cannot be used.
func (*keptError) Lost() bool { return true }

func (k *kept) done() <-chan struct{} { return k.over }

func (k *kept) err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.why
}

// dial waits until the solver speaks: one that is being replaced hangs up.
func (k *kept) dial(ctx context.Context) (net.Conn, error) {
	conn, err := k.keep.ask(ctx, errand{Mark: k.errand.Mark, Dial: true})
	if err != nil {
		return nil, fmt.Errorf("connecting by the link that is kept: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, keepingWait, &silentError{keepingWait})
	defer cancel()
	out, err := greet(ctx, conn, nil)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connecting by the link that is kept: %w", ended(ctx, err))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns = append(k.conns, out)
	return &keptConn{out, k}, nil
}

// log is asked for by a link of its own, also where the one that is kept was lost.
func (k *kept) log(ctx context.Context, lines int) (string, error) {
	return Logs(ctx, k.entry, k.cfg, lines)
}

// close lets go of the link, which the keeper may look after for longer.
func (k *kept) close() error {
	k.mu.Lock()
	good := k.why == nil && len(k.conns) > 0
	if k.why == nil {
		k.why = net.ErrClosed
	}
	for _, conn := range append(k.conns, k.hold) {
		_ = conn.Close()
	}
	k.mu.Unlock()
	_ = k.group.Wait()
	if good {
		k.keep.offer(k.errand)
	}
	return nil
}

// keptConn is a connection by a keeper's link.
type keptConn struct {
	net.Conn
	kept *kept
}

// verdictWait is how long the reason for the end of a connection may come after it.
const verdictWait = 200 * time.Millisecond

// Read ends with the link's error where that was lost.
func (c *keptConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	timer := time.NewTimer(verdictWait)
	defer timer.Stop()
	select {
	case <-c.kept.over:
		return n, c.kept.err()
	case <-timer.C:
		return n, err
	}
}

// offering is a link of the build's own, of which a keeper learns when the build is done with it.
type offering struct {
	linked
	keep   *Keep
	errand errand
}

func (o offering) close() error {
	whole := o.err() == nil
	err := o.linked.close()
	if whole && o.used.Load() {
		o.keep.offer(o.errand)
	}
	return err
}
