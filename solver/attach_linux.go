// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/sandbox"
)

const (
	startWait  = 60 * time.Second
	answerWait = 8 * time.Second
	maxLogSize = 4 << 20
)

// Attach connects to the running solver of a state, or starts one that outlives this process. Two that start at once make
// one. The caller closes the client.
func Attach(ctx context.Context, cfg AttachConfig) (*Client, Info, error) {
	state, err := cfg.State.Resolve()
	if err != nil {
		return nil, Info{}, err
	}
	c, info, err := cfg.running(ctx, state, false)
	var wrong *wrongSolverError
	if err == nil || errors.As(err, &wrong) {
		return c, info, err
	}
	note, err := state.check()
	if err != nil {
		return nil, Info{}, err
	}
	lock, err := lockStarts(ctx, state)
	if err != nil {
		return nil, Info{}, err
	}
	defer func() { _ = lock.Close() }()
	if c, info, err := cfg.running(ctx, state, true); err == nil {
		return c, info, nil
	}
	if note != "" && cfg.Note != nil {
		cfg.Note(note)
	}
	if err := launch(ctx, cfg, state, lock); err != nil {
		return nil, Info{}, err
	}
	// Whoever replaces this solver waits for the lock on starts.
	held, err := share(ctx, state)
	if err != nil {
		return nil, Info{}, fmt.Errorf("holding the solver: %w", err)
	}
	c, info, err = try(ctx, state)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, Info{}, errors.Join(err, closeClient(c), held.Close())
	}
	c.held = held
	return c, info, nil
}

// lockStarts makes the directories and takes the lock that one start at a time holds.
func lockStarts(ctx context.Context, state State) (*os.File, error) {
	for _, dir := range []string{state.Runtime, state.Root} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, &directoryError{err}
		}
	}
	lock, err := lockFile(ctx, state.start())
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil, &directoryError{err}
	}
	if err != nil {
		return nil, fmt.Errorf("waiting for another start of the solver: %w", err)
	}
	return lock, nil
}

func closeClient(c *Client) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

// try connects to the socket and asks for what the solver can do, which shows that it answers.
func try(ctx context.Context, state State) (*Client, Info, error) {
	// gRPC would wait and try again where nobody listens. A solver of an earlier version has one socket.
	path := state.near()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		path = state.Socket()
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	if err != nil {
		return nil, Info{}, fmt.Errorf("connecting to the solver: %w", err)
	}
	cred, err := peerCredentials(conn.(*net.UnixConn))
	if err := errors.Join(err, conn.Close()); err != nil {
		return nil, Info{}, fmt.Errorf("finding the solver's process: %w", err)
	}
	if uid := int(cred.Uid); uid != os.Geteuid() && uid != 0 {
		return nil, Info{}, &wrongSolverError{
			fmt.Errorf("connecting to the solver: user %d listens on %q, and this is user %d", uid, path, os.Geteuid()),
			"choose a directory of your own with MAB_RUNTIME_DIR or --root",
		}
	}
	c, err := Dial(ctx, "unix://"+path)
	if err != nil {
		return nil, Info{}, err
	}
	asking, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	info, err := c.Info(asking)
	if err == nil {
		return c, info, nil
	}
	if asking.Err() != nil && ctx.Err() == nil {
		err = &wrongSolverError{
			fmt.Errorf("connecting to the solver: process %d listens on %q and gives no answer within %s", cred.Pid, path, answerWait),
			"it is stopped or hangs; end it, its cache stays: mab serve --stop",
		}
	}
	return nil, Info{}, errors.Join(err, c.Close())
}

// wrongSolverError is a solver that listens, and that cannot be built with: another user's, who would be given this user's sources and
// secrets, or one that does not answer.
type wrongSolverError struct {
	error
	mend string
}

func (e *wrongSolverError) Hint() string { return e.mend }

// directoryError is a directory of the solver's that cannot be made.
type directoryError struct{ err error }

func (e *directoryError) Error() string {
	return fmt.Sprintf("making the solver's directory: %v", e.err)
}
func (e *directoryError) Unwrap() error { return e.err }
func (e *directoryError) Hint() string {
	return "choose directories that this user may write to: MAB_ROOT for the cache, MAB_RUNTIME_DIR for the socket, or --root for both"
}

// launch starts a solver in the background and waits until it answers or is gone. The solver inherits the lock on starts and keeps
// it until it answers, so that a start whose process is killed is waited for by the next.
func launch(ctx context.Context, cfg AttachConfig, state State, lock *os.File) error {
	log, err := openLog(state.Log())
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	ready, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the solver: %w", err)
	}
	defer func() { _ = ready.Close() }()
	cmd, err := sandbox.Start(sandbox.Config{
		Args: append([]string{"serve", "--started"}, cfg.args(state)...),
		Env:  environment(os.Environ()),
		// The directory of the first build may be removed while the solver runs on, and git refuses to run in such a one.
		Dir:    state.Root,
		Stdout: log, Stderr: log,
		Extra:  []*os.File{tell, lock},
		Detach: true,
	})
	_ = tell.Close()
	if err != nil {
		return &startError{err: err}
	}
	if err := waitReady(ctx, ready); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var told *toldError
		if errors.As(err, &told) {
			_ = cmd.Wait()
			return &startError{err: err}
		}
		_ = cmd.Process.Kill()
		ended := cmd.Wait()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			ended = fmt.Errorf("it did not answer within %s", startWait)
		}
		return &startError{err: ended, log: LogTail(state)}
	}
	return cmd.Process.Release()
}

// waitReady returns when the solver answered, and fails when it closed the pipe without.
func waitReady(ctx context.Context, ready *os.File) error {
	if err := ready.SetReadDeadline(time.Now().Add(startWait)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var a answer
	if err := json.NewDecoder(ready).Decode(&a); err != nil {
		return err
	}
	if a.Error != "" {
		return &toldError{a}
	}
	return nil
}

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogSize {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("turning over the solver's log: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the solver's log: %w", err)
	}
	return f, nil
}

// environment keeps what a solver needs to find programs and reach registries. The rest of a user's environment may hold
// secrets, and a process that goes on in the background is no place for them.
func environment(all []string) []string {
	var out []string
	for _, entry := range all {
		name, _, _ := strings.Cut(entry, "=")
		switch strings.ToUpper(name) {
		case "PATH", "HOME", "LANG", "TZ", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
			"MAB_CACHE_SIZE", "MAB_CACHE_AGE", "GODEBUG",
			// By these a container is known (sandbox), for a message.
			"KUBERNETES_SERVICE_HOST", "CONTAINER":
			out = append(out, entry)
		}
	}
	return out
}
