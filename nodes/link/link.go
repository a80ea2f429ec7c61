// SPDX-License-Identifier: Apache-2.0

// Package link is one SSH connection to a machine, made as the user's OpenSSH would make it: by the same files, agent, keys, known hosts
// and jump hosts.
//
// Its one rule: nothing waits for ever, and nothing is trusted silently. What does not answer is given up in time, and says where it was;
// a host key that is not known is an error that shows its fingerprint.
package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// Config says where a link leads, and how it is made.
type Config struct {
	// Host is what the user calls the machine: a name in his files, in the DNS, or an address.
	Host string
	// User is the account there. Empty: by the files, else the user's own name.
	User string
	// Port is where the server listens. Zero: by the files, else 22.
	Port int
	// Home has the directory .ssh. Empty: the user's.
	Home string
	// Files are ssh_config files, the first of which wins. Nil: HOME/.ssh/config and /etc/ssh/ssh_config.
	Files []string
	// Timeout is for the whole way, with all jump hosts, but not for what the user is asked. Zero: ConnectTimeout of the files, else 10 s.
	Timeout time.Duration
	// KeepAlive is the time between questions; after three of them without a byte from the other side the link is lost, or after 15 if the
	// machine there is known to receive them. Zero: 1 s.
	KeepAlive time.Duration
	// AcceptNewHostKey takes the key of a host of which none is known, and adds it to the first UserKnownHostsFile.
	AcceptNewHostKey bool
	// Ask asks the user for a secret. Nil: nobody can be asked.
	Ask func(ctx context.Context, prompt string) (string, error)
	// Note takes what the user should know, in a line each. Nil: nobody is told.
	Note func(text string)
	// Getenv looks up the environment. Nil: os.Getenv.
	Getenv func(name string) string
}

// Link is an SSH connection that holds until it is lost or closed. It is safe for several goroutines. Its opener closes it.
type Link struct {
	host, address string
	// base is what all else goes through: a TCP connection or a ProxyCommand.
	base    net.Conn
	clients []*ssh.Client
	conn    *watched

	// sessions counts those that are open, freed tells that one ended.
	sessions atomic.Int32
	freed    chan struct{}

	done  chan struct{}
	mu    sync.Mutex
	err   error
	group errgroup.Group
}

// Dial makes a link. Its errors name the host and where the way ended, and have a Hint where the user can mend it: *ConfigError,
// *UnreachableError, *HostKeyError, *AuthError.
func Dial(ctx context.Context, cfg Config) (*Link, error) {
	d, err := newDialer(cfg)
	if err != nil {
		return nil, err
	}
	ctx, d.patience = withPatience(ctx, d.cfg.Timeout)
	defer d.patience.end()
	defer d.keys.close()
	var before error
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		l, err := d.try(ctx)
		var (
			dropped *droppedError
			silent  *SilentError
		)
		switch {
		case err == nil:
			l.start(d.cfg.KeepAlive)
			return l, nil
		case errors.As(err, &dropped) && dropped.again:
			// As a server does with too many connections that are not logged in (MaxStartups).
			before = err
		case before != nil && errors.As(err, &silent):
			return nil, before
		default:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// newDialer fills in what is not given, and finds the way.
func newDialer(cfg Config) (*dialer, error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	if cfg.Note == nil {
		cfg.Note = func(string) {}
	}
	if cfg.Home == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("looking for .ssh: %w", err)
		}
		cfg.Home = home
	}
	if cfg.Files == nil {
		cfg.Files = []string{filepath.Join(cfg.Home, ".ssh", "config"), "/etc/ssh/ssh_config"}
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = time.Second
	}
	to := spec{user: cfg.User, host: cfg.Host, port: cfg.Port}
	if err := validName("host", to.host); err != nil {
		return nil, &ConfigError{Err: err}
	}
	at := place{home: cfg.Home, getenv: cfg.Getenv}
	if u, err := user.Current(); err == nil {
		// Windows has DOMAIN\user.
		at.user = u.Username[strings.LastIndex(u.Username, `\`)+1:]
	}
	p := planner{files: cfg.Files, at: at, note: cfg.Note}
	route, err := p.route(to)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = route[len(route)-1].timeout
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	d := &dialer{cfg: cfg, route: route, keys: keyring{files: map[string]identity{}}}
	if cfg.Ask != nil {
		d.keys.ask = func(ctx context.Context, prompt string) (string, error) {
			d.patience.pause()
			defer d.patience.resume()
			return cfg.Ask(ctx, prompt)
		}
	}
	return d, nil
}

// Address is user@host:port of the other side.
func (l *Link) Address() string { return l.address }

// Done is closed when the link was lost or closed; Err tells then which.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err is nil while the link holds, a *LostError when it was lost, and net.ErrClosed after Close.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close ends the link with all that goes through it, and waits for its goroutines. Closing twice does nothing.
func (l *Link) Close() error {
	l.end(net.ErrClosed)
	// Everything in the group ends with the link, and reports through it.
	_ = l.group.Wait()
	return nil
}

// Ping measures how long a question and its answer take.
func (l *Link) Ping(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	_, err := await(ctx, l, func() (struct{}, error) { return struct{}{}, l.ask() }, nil)
	return time.Since(start), err
}

// client is the connection to the last server of the way.
func (l *Link) client() *ssh.Client { return l.clients[len(l.clients)-1] }

// ask sends a question that every server answers, if only by saying that it does not know it.
func (l *Link) ask() error {
	_, _, err := l.client().SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// knock sends what only the kernel of the other side answers, while a question waits for its sshd.
func (l *Link) knock() error {
	_, _, err := l.client().SendRequest("keepalive@openssh.com", false, nil)
	return err
}

// start begins to watch over the link.
func (l *Link) start(every time.Duration) {
	l.spawn(func() {
		err := l.client().Wait()
		l.end(l.lost(err))
		for _, client := range l.clients {
			_ = client.Wait()
		}
	})
	ask, knock := make(chan struct{}, 1), make(chan struct{}, 1)
	l.spawn(func() { l.onBeats(ask, l.ask) })
	l.spawn(func() { l.onBeats(knock, l.knock) })
	l.spawn(func() { l.listen(every, ask, knock) })
}

// onBeats does something at each beat, until that fails.
func (l *Link) onBeats(beat <-chan struct{}, do func() error) {
	for {
		select {
		case <-beat:
		case <-l.done:
			return
		}
		if do() != nil {
			return
		}
	}
}

const (
	// lostBeats are how many questions without a sign of life mean that a link is lost, and hungBeats how many mean it where the other
	// machine acknowledges them, and does not answer: one that is busy may take its time.
	lostBeats = 3
	hungBeats = 15
)

// listen counts the beats without a byte from the other side. It counts, and does not look at the clock, so that a process that
// was stopped for a while does not take its own silence for that of the other side.
func (l *Link) listen(every time.Duration, beats ...chan<- struct{}) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for silent, before := 0, l.conn.reads.Load(); ; {
		select {
		case <-l.done:
			return
		case <-ticker.C:
		}
		if now := l.conn.reads.Load(); now != before {
			silent, before = 0, now
		} else if silent++; silent >= hungBeats || silent >= lostBeats && !acknowledged(l.conn.Conn) {
			l.end(l.lost(&SilentError{After: time.Duration(silent) * every}))
			return
		}
		for _, beat := range beats {
			select {
			case beat <- struct{}{}:
			default:
				// The last one was not done with yet.
			}
		}
	}
}

func (l *Link) lost(err error) error {
	if ended(err) {
		err = errEnded
	}
	return &LostError{Host: l.host, Address: l.address, Err: err}
}

// end gives the link its error, unless it has one, and ends everything that goes through it.
func (l *Link) end(err error) {
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = err
		close(l.done)
	}
	l.mu.Unlock()
	if first {
		// The lowest connection: closing one above it would first send a farewell, for which nobody may be there.
		_ = l.base.Close()
	}
}

// spawn runs a goroutine that Close waits for; false if the link has ended.
func (l *Link) spawn(run func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false
	}
	l.group.Go(func() error {
		run()
		return nil
	})
	return true
}

// await runs what cannot be interrupted and ends with the link. When ctx ends first, the result is left to drop, if that is not nil.
func await[T any](ctx context.Context, l *Link, run func() (T, error), drop func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result)
	var none T
	if !l.spawn(func() {
		value, err := run()
		err = l.explain(err)
		select {
		case results <- result{value, err}:
		case <-ctx.Done():
			if err == nil && drop != nil {
				drop(value)
			}
		}
	}) {
		return none, l.Err()
	}
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// explain returns the link's own error for one that came of its end. A link that breaks ends what goes through it before it says so itself.
func (l *Link) explain(err error) error {
	var refused *ssh.OpenChannelError
	if err == nil || errors.As(err, &refused) {
		return err
	}
	if l.ask() != nil {
		<-l.done
	}
	if ended := l.Err(); ended != nil {
		return ended
	}
	return err
}
