// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Door is the path of the socket by which a solver is found that is of this mab and has this config, and no other is; empty where a socket's path
// would be too long. It is for who was told by Attach that this is the one: a connection through it needs no process on this machine, and while it
// is open nobody replaces the solver.
func (s State) Door(c Config) string {
	sum := sha256.Sum256([]byte(s.self().mab + "\n" + c.Digest()))
	const enough = 6 // bytes
	path := filepath.Join(s.Runtime, "solver."+hex.EncodeToString(sum[:enough])+".sock")
	if len(path) > maxSocketPath {
		return ""
	}
	return path
}

// openDoor listens at the state's Door, and removes those that killed solvers left. Nil: it has none.
func openDoor(ctx context.Context, state State, c Config) (net.Listener, error) {
	left, err := filepath.Glob(filepath.Join(state.Runtime, "solver.*.sock"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return nil, fmt.Errorf("removing a stale socket: %w", err)
	}
	path := state.Door(c)
	if path == "" {
		return nil, nil //nolint:nilnil // nobody is told of it
	}
	l, err := listen(ctx, path)
	if err != nil {
		return nil, err
	}
	return door{l, state}, nil
}

// door holds the solver for those who come in by it, as Attach does for others.
type door struct {
	net.Listener
	state State
}

// Accept turns away who comes while the solver is replaced.
func (d door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(d.state.use(), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			_ = conn.Close()
			continue
		}
		held := &use{f}
		if err := held.lock(unix.LOCK_SH); err != nil {
			_, _ = held.Close(), conn.Close()
			continue
		}
		return &entered{Conn: conn, held: held}, nil
	}
}

// entered is a connection that holds the solver.
type entered struct {
	net.Conn
	held *use
	once sync.Once
}

// Close lets go of the solver, too.
func (e *entered) Close() error {
	err := e.Conn.Close()
	e.once.Do(func() { err = errors.Join(err, e.held.Close()) })
	return err
}
