// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Seen is what Look found of a state.
type Seen struct {
	// PID is the process that listens on the state's socket, 0 if there is none.
	PID int
	// Version is that of BuildKit in it.
	Version string
	// Locked tells that a solver holds the state, be it one that listens elsewhere.
	Locked bool
}

// Look finds the solver of a state without starting one, and changes nothing. Where one listens but does not answer before ctx
// ends, the error comes with its PID.
func Look(ctx context.Context, s State) (Seen, error) {
	state, err := s.Resolve()
	if err != nil {
		return Seen{}, err
	}
	out := Seen{Locked: locked(state.lock())}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", state.Socket())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("connecting to the solver: %w", err)
	}
	cred, err := peerCredentials(conn.(*net.UnixConn))
	if err := errors.Join(err, conn.Close()); err != nil {
		return out, fmt.Errorf("finding the solver's process: %w", err)
	}
	out.PID = int(cred.Pid)
	c, err := Dial(ctx, "unix://"+state.Socket())
	if err != nil {
		return out, err
	}
	defer func() { _ = c.Close() }()
	info, err := c.bk.Info(ctx)
	if err != nil {
		return out, fmt.Errorf("asking the solver for its version: %w", err)
	}
	out.Version = info.BuildkitVersion.Version
	return out, nil
}

// locked reports whether somebody holds a lock on the file. It takes the lock for a moment, for which a solver waits.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// Layers tells how a solver in this sandbox keeps file systems below a directory, which must exist: by containerd's name, and with
// what that limits. What it makes there the caller removes.
func Layers(dir string) (string, Limit, error) {
	found, err := newLayers(dir, "")
	if err != nil {
		return "", Limit{}, fmt.Errorf("making file systems below %q: %w", dir, err)
	}
	return found.name, found.limit, found.Close()
}
