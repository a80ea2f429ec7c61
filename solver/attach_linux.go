// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mab-build/mab/sandbox"
)

const (
	startWait  = 60 * time.Second
	maxLogSize = 4 << 20
)

// Attach connects to the running solver of a state, or starts one that outlives this process. Two that start at once make
// one. The caller closes the client.
func Attach(ctx context.Context, cfg AttachConfig) (*Client, Info, error) {
	state, err := cfg.State.Resolve()
	if err != nil {
		return nil, Info{}, err
	}
	if c, info, err := cfg.running(ctx, state, false); err == nil {
		return c, info, nil
	}
	note, err := state.check()
	if err != nil {
		return nil, Info{}, err
	}
	if err := os.MkdirAll(state.Runtime, 0o700); err != nil {
		return nil, Info{}, fmt.Errorf("making the solver's directory: %w", err)
	}
	if err := os.MkdirAll(state.Root, 0o700); err != nil {
		return nil, Info{}, fmt.Errorf("making the solver's directory: %w", err)
	}
	lock, err := lockFile(ctx, state.start())
	if err != nil {
		return nil, Info{}, fmt.Errorf("waiting for another start of the solver: %w", err)
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
	c, info, err := try(ctx, state)
	if ctx.Err() != nil {
		return nil, Info{}, errors.Join(ctx.Err(), closeClient(c))
	}
	return c, info, err
}

func closeClient(c *Client) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

// try connects to the socket and asks for what the solver can do, which shows that it answers.
func try(ctx context.Context, state State) (*Client, Info, error) {
	// gRPC would wait and try again where nobody listens.
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", state.Socket())
	if err != nil {
		return nil, Info{}, fmt.Errorf("connecting to the solver: %w", err)
	}
	_ = conn.Close()
	c, err := Dial(ctx, "unix://"+state.Socket())
	if err != nil {
		return nil, Info{}, err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return nil, Info{}, errors.Join(err, c.Close())
	}
	return c, info, nil
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
			"MAB_CACHE_SIZE", "MAB_CACHE_AGE", "GODEBUG":
			out = append(out, entry)
		}
	}
	return out
}
