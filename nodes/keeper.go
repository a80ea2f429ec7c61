// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/nodes/link"
)

// KeeperConfig says how long a keeper keeps what it is given.
type KeeperConfig struct {
	// Socket is where builds ask.
	Socket string
	// Idle is how long a link is kept that nobody uses.
	Idle time.Duration
	// Wanted has lines of Keep.Start.
	Wanted io.ReadCloser
}

const (
	// keeperBeat is how often a keeper looks whether it is still needed.
	keeperBeat = 500 * time.Millisecond
	// doorAge is how long the answer of a node's mab counts, so that what changes there, such as the solver's config, counts soon.
	doorAge = time.Minute
)

// keeper has the links of a user.
type keeper struct {
	cfg   KeeperConfig
	group *errgroup.Group
	// heard is closed when nobody writes what is wanted any more.
	heard chan struct{}
	mu    sync.Mutex
	links map[string]*keeping
}

// keeping is a link that is kept. A keeper has one for each mark.
type keeping struct {
	// link is nil where nobody is let in, or not yet. Its door is the solver's there, empty if builds cannot go through it.
	link *link.Link
	door string
	// asked is when the node's mab was, users are the builds that hold the link, and until is when it goes if there are none.
	asked, until time.Time
	users        int
	// busy is whether somebody logs in or asks just now, and doubtful whether the door was shut.
	busy, doubtful bool
}

// fresh reports whether there is nothing to be asked yet; where nobody was let in, that is not tried again at once either.
func (k *keeping) fresh() bool {
	return !k.asked.IsZero() && time.Since(k.asked) < doorAge && !k.doubtful && (k.link == nil || k.link.Err() == nil)
}

// KeepLinks is a keeper until nobody needs it, or ctx ends. Where another keeper answers at the socket, that is told what is wanted instead.
func KeepLinks(ctx context.Context, cfg KeeperConfig) error {
	listener, err := listenAsKeeper(ctx, cfg.Socket)
	if errors.Is(err, errKept) {
		return passOn(ctx, cfg)
	}
	if err != nil {
		return fmt.Errorf("keeping links: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := &keeper{cfg: cfg, group: group, heard: make(chan struct{}), links: map[string]*keeping{}}
	group.Go(func() error {
		defer close(k.heard)
		return each(cfg.Wanted, func(e errand) { k.learn(ctx, e) })
	})
	stop := context.AfterFunc(ctx, func() { _ = cfg.Wanted.Close() })
	defer stop()
	group.Go(func() error { return k.accept(ctx, listener) })
	group.Go(func() error {
		defer cancel()
		k.tend(ctx)
		// From now on nobody comes in, and the socket is gone.
		return errors.Join(listener.Close(), k.end())
	})
	return group.Wait()
}

var errKept = errors.New("there is a keeper")

// doorbell is a keeper's socket. It takes away its own alone when it is closed: another keeper may have its place by then.
type doorbell struct {
	net.Listener
	path string
	own  os.FileInfo
}

func (d doorbell) Close() error {
	if now, err := os.Lstat(d.path); err == nil && os.SameFile(now, d.own) {
		_ = os.Remove(d.path)
	}
	return d.Listener.Close()
}

// listenAsKeeper takes the place of a keeper that is gone. Should two do so at once, one of them is never asked, and ends.
func listenAsKeeper(ctx context.Context, path string) (net.Listener, error) {
	for {
		l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
		if err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			own, err := os.Lstat(path)
			if err != nil {
				return nil, errors.Join(err, l.Close())
			}
			return doorbell{l, path, own}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		conn, dialing := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if dialing == nil {
			return nil, errors.Join(errKept, conn.Close())
		}
		if err := os.Remove(path); !errors.Is(dialing, syscall.ECONNREFUSED) || err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(dialing, err)
		}
	}
}

// passOn gives what is wanted to the keeper that there is.
func passOn(ctx context.Context, cfg KeeperConfig) error {
	other := &Keep{Socket: cfg.Socket}
	return each(cfg.Wanted, func(e errand) {
		if conn, err := other.ask(ctx, e); err == nil {
			_ = conn.Close()
		}
	})
}

// each reads lines to their end.
func each(lines io.Reader, do func(errand)) error {
	for r := bufio.NewReader(lines); ; {
		line, err := readLine(r, maxHello)
		var e errand
		if err != nil || json.Unmarshal(line, &e) != nil {
			return nil //nolint:nilerr // the build that wrote it is done, or gone
		}
		do(e)
	}
}

func (k *keeper) accept(ctx context.Context, listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return nil //nolint:nilerr // it was closed
		}
		k.group.Go(func() error {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			k.serve(ctx, conn)
			_ = conn.Close()
			return nil
		})
	}
}

// serve does one errand.
func (k *keeper) serve(ctx context.Context, conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(keepingWait))
	r := bufio.NewReader(conn)
	line, err := readLine(r, maxHello)
	var e errand
	if err != nil || json.Unmarshal(line, &e) != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	if e.Wanted != nil {
		k.learn(ctx, e)
		_ = say(conn, verdict{})
		return
	}
	l, door, ok := k.take(e.Mark)
	if !ok {
		_ = say(conn, verdict{No: "no such link is kept"})
		return
	}
	defer k.release(e.Mark)
	if e.Dial {
		k.join(ctx, &joined{conn, r}, l, door, e.Mark)
		return
	}
	if say(conn, verdict{}) != nil {
		return
	}
	// Who holds the link says nothing more, and hangs up.
	gone := make(chan struct{})
	k.group.Go(func() error {
		defer close(gone)
		_, _ = io.Copy(io.Discard, r)
		return nil
	})
	select {
	case <-gone:
	case <-l.Done():
		_ = say(conn, verdict{Lost: l.Err().Error()})
	}
}

func say(w io.Writer, v verdict) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}

// join connects a build with the solver until either side hangs up.
func (k *keeper) join(ctx context.Context, conn net.Conn, l *link.Link, door, mark string) {
	dialing, cancel := context.WithTimeout(ctx, keepingWait)
	defer cancel()
	far, err := l.DialUnix(dialing, door)
	if err != nil {
		k.doubt(mark)
		_ = say(conn, verdict{No: err.Error()})
		return
	}
	var both errgroup.Group
	if err := say(conn, verdict{}); err == nil {
		hangUp := func() error { return errors.Join(conn.Close(), far.Close()) }
		both.Go(func() error {
			_, _ = io.Copy(far, conn)
			return hangUp()
		})
		both.Go(func() error {
			_, _ = io.Copy(conn, far)
			return hangUp()
		})
	}
	_ = both.Wait()
	_ = far.Close()
}

// take holds a link that is ready.
func (k *keeper) take(mark string) (*link.Link, string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	kept := k.links[mark]
	if kept == nil || kept.link == nil || kept.link.Err() != nil || kept.door == "" || kept.doubtful {
		return nil, "", false
	}
	kept.users++
	return kept.link, kept.door, true
}

func (k *keeper) release(mark string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	// One that was held is not removed.
	kept := k.links[mark]
	kept.users--
	kept.until = time.Now().Add(k.cfg.Idle)
}

// doubt has the node's mab be asked anew before the link is used again.
func (k *keeper) doubt(mark string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.links[mark].doubtful = true
}

// learn makes the link that is wanted if there is none, and asks the node's mab if that was long ago.
func (k *keeper) learn(ctx context.Context, e errand) {
	k.mu.Lock()
	defer k.mu.Unlock()
	kept := k.links[e.Mark]
	if kept == nil {
		kept = &keeping{}
		k.links[e.Mark] = kept
	}
	kept.until = time.Now().Add(k.cfg.Idle)
	if kept.busy || kept.fresh() {
		return
	}
	kept.busy, kept.doubtful = true, false
	old := kept.link
	if old != nil && old.Err() != nil {
		old = nil
	}
	k.group.Go(func() error {
		l, door := e.Wanted.reach(ctx, old, e.Mark)
		k.mu.Lock()
		defer k.mu.Unlock()
		kept.link, kept.door, kept.busy, kept.asked = l, door, false, time.Now()
		if l != nil && ctx.Err() != nil {
			return l.Close() // All others have ended.
		}
		return nil
	})
}

// reach returns a link, the old one if there is any, and the solver's door on the node; no link if the mark is another by now, or if the node does not
// have this mab: nothing is brought.
func (w *wanted) reach(ctx context.Context, old *link.Link, mark string) (*link.Link, string) {
	at, err := ParseURL(w.Entry.URL)
	if err != nil {
		return nil, ""
	}
	getenv := func(name string) string { return w.Env[name] }
	l := old
	if l == nil {
		if l, err = link.Dial(ctx, w.link(at, getenv)); err != nil {
			return nil, ""
		}
	}
	b := newBrought(overLink{l}, w.Entry.Name, Config{Timeout: w.Config.Timeout, Version: w.Config.Version, Programs: w.Config.Programs, Solver: w.Config.Solver})
	conn, err := b.connect(ctx)
	if err == nil {
		err = conn.Close()
	}
	now, marking := w.mark(at, getenv)
	if err != nil || marking != nil || now != mark {
		// Builds that use an old one are left to it.
		if old == nil {
			_ = l.Close()
			return nil, ""
		}
		return l, ""
	}
	door, _ := b.door.Load().(string)
	if far, err := l.DialUnix(ctx, door); err != nil || far.Close() != nil {
		// A server may forbid it: AllowStreamLocalForwarding.
		door = ""
	}
	return l, door
}

// tend ends links that nobody uses, and returns when there are none.
func (k *keeper) tend(ctx context.Context) {
	tick := time.NewTicker(keeperBeat)
	defer tick.Stop()
	for heard := k.heard; ; {
		select {
		case <-ctx.Done():
			return
		case <-heard:
			heard = nil
		case now := <-tick.C:
			if k.drop(now) == 0 && heard == nil {
				return
			}
		}
	}
}

// drop ends the links that nobody needs at a time, and returns how many there are then.
func (k *keeper) drop(now time.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for mark, kept := range k.links {
		if kept.users > 0 || kept.busy || now.Before(kept.until) {
			continue
		}
		delete(k.links, mark)
		if kept.link != nil {
			_ = kept.link.Close()
		}
	}
	return len(k.links)
}

// end ends all links.
func (k *keeper) end() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kept := range k.links {
		if kept.link != nil {
			_ = kept.link.Close()
		}
	}
	return nil
}
