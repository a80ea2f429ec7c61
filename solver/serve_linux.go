// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/control"
	"github.com/moby/sys/userns"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/mab-build/mab/sandbox"
)

const (
	lockWait   = 5 * time.Second // how long a solver that is just stopping may hold the lock
	stopWait   = 5 * time.Second // how long running builds may take to end after a stop was asked for
	reapPeriod = 5 * time.Second
	calmAfter  = 2 * time.Second // how long after the last connection the databases are written out
)

// Serve runs the solver until ctx ends or it has been idle, and leaves no socket behind. It must run inside a sandbox.
func Serve(ctx context.Context, cfg ServeConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if !sandbox.Inside() {
		return errors.New("starting the solver: not in namespaces of its own")
	}
	state, err := cfg.State.Resolve()
	if err != nil {
		return err
	}
	if err := prepare(state); err != nil {
		return err
	}
	cfg.Log.Info(startLine, "root", state.Root)
	lock, err := acquire(ctx, state)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	flag := flag{path: state.unsettled(), log: cfg.Log}
	if err := mend(state, flag, cfg.Log); err != nil {
		return err
	}
	defer sweep(ctx, state, cfg.Log)()
	program, limits, err := findRunc(ctx, state, cfg.Log)
	if err != nil {
		return err
	}
	watch, err := newWatch(ctx, EmulateConfig{Store: state.Emulators(), Scores: state.Scores(), Measurements: state.Measurements(), Log: cfg.Log}, cfg.abilities)
	if err != nil {
		return err
	}
	defer watch.close()
	s := serving{cfg: cfg, flag: flag, watch: watch}
	return s.open(ctx, state, workerConfig{
		root: state.Root, user: sandbox.OwnUser() || userns.RunningInUserNS(), runc: program, limited: limits, able: &watch.able, limits: cfg.Limits,
		config: cfg.Config, entitlements: cfg.granted(),
	})
}

// mend puts a state in order that a solver may have left in the middle of something.
func mend(state State, flag flag, log *slog.Logger) error {
	if err := adoptAs(state, state.self(), log); err != nil {
		return err
	}
	if err := clean(state); err != nil {
		return err
	}
	if err := flag.recover(state); err != nil {
		return err
	}
	return heal(state, log)
}

// serving is a solver whose state is its own and in order.
type serving struct {
	cfg   ServeConfig
	flag  flag
	watch *watch
}

// open listens and serves. Not before: the lock on the state guarantees that no other solver of it answers on the socket.
func (s *serving) open(ctx context.Context, state State, worker workerConfig) error {
	listener, err := listen(ctx, state.Socket())
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(state.Socket()) }()
	near, err := listen(ctx, state.near())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { _ = os.Remove(state.near()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	others, err := s.cfg.Listen.open(ctx)
	if err != nil {
		return errors.Join(err, listener.Close(), near.Close())
	}
	doors := doors{near: []net.Listener{near}, far: append([]net.Listener{listener}, others...)}
	told, err := openDoor(ctx, state, s.cfg.Config)
	if err != nil {
		doors.close()
		return err
	}
	if told != nil {
		doors.far = append(doors.far, told)
		defer func() { _ = os.Remove(state.Door(s.cfg.Config)) }()
	}
	controller, err := newController(ctx, worker)
	if err != nil {
		doors.close()
		return err
	}
	err = errors.Join(s.run(ctx, doors, controller), controller.Close())
	s.flag.lower()
	return err
}

// run serves until ctx ends or nobody has been connected for long enough.
func (s *serving) run(ctx context.Context, doors doors, controller *control.Controller) error {
	cfg := s.cfg
	gate, err := cfg.Listen.gate(cfg.Log)
	if err != nil {
		doors.close()
		return err
	}
	idle := newIdle(idleTimes{stop: cfg.Idle, calm: calmAfter}, s.flag.raise, s.flag.lower)
	options := []grpc.ServerOption{grpc.Creds(gate), grpc.StatsHandler(idle), grpc.StatsHandler(&s.watch.solves)}
	near, far := newServer(controller, options...), newServer(controller, append(options, heartbeat()...)...)

	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	serve := func(server *grpc.Server, listeners []net.Listener) {
		for _, listener := range listeners {
			group.Go(func() error {
				defer cancel()
				// A stop may overtake the start.
				if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
					return err
				}
				return nil
			})
		}
		group.Go(func() error {
			<-ctx.Done()
			stop(server)
			return nil
		})
	}
	serve(near, doors.near)
	serve(far, doors.far)
	group.Go(func() error { sandbox.Reap(ctx, reapPeriod); return nil })
	group.Go(func() error { s.watch.follow(ctx); return nil })
	group.Go(func() error { endCrashed(ctx, s.watch.solves.count.Load, cfg.Log); return nil })
	group.Go(func() error {
		defer cancel()
		select {
		case <-ctx.Done():
		case <-idle.over:
			cfg.Log.Info("idle, stopping", "after", cfg.Idle)
		}
		return nil
	})
	for _, listener := range doors.far[1 : 1+len(cfg.Listen.Addresses)] {
		cfg.Log.Info("serving others", "address", listener.Addr().String())
	}
	cfg.Log.Info("solver ready", "socket", doors.far[0].Addr().String())
	if cfg.Ready != nil {
		cfg.Ready()
	}
	return group.Wait()
}

// prepare makes the directories and the environment that BuildKit and runc need, unless the state is not for this mab.
func prepare(state State) error {
	if _, err := state.check(); err != nil {
		return err
	}
	// BuildKit's file copies set exact modes and expect no umask.
	unix.Umask(0)
	fscopy.UmaskIsZero = true
	for _, dir := range []string{state.Root, state.Runtime, state.temp()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &directoryError{err}
		}
	}
	if err := ownDirectories(state.Root, state.temp()); err != nil {
		return err
	}
	// What a killed solver leaves in the temporary directory, clean finds there; runc keeps its state beside it.
	env := map[string]string{"TMPDIR": state.temp(), "XDG_RUNTIME_DIR": state.temp(), "USER": "mab"}
	for name, value := range env {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// containerd has looked at TMPDIR before main began.
	if err := mount.SetTempMountLocation(state.temp()); err != nil {
		return fmt.Errorf("making the directory of mounts: %w", err)
	}
	return nil
}

// ownDirectories refuses what belongs to another user, or is a link to somewhere else: the solver removes what it finds there.
func ownDirectories(paths ...string) error {
	for _, path := range paths {
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return &directoryError{&fs.PathError{Op: "lstat", Path: path, Err: err}}
		}
		link, root := stat.Mode&unix.S_IFMT == unix.S_IFLNK, path == paths[0]
		if root && link {
			if err := unix.Stat(path, &stat); err != nil {
				return &directoryError{&fs.PathError{Op: "stat", Path: path, Err: err}}
			}
		}
		if int(stat.Uid) != os.Geteuid() || link && !root {
			return &foreignError{err: fmt.Errorf("%q belongs to another user, or is a link", path), root: paths[0]}
		}
	}
	return nil
}

// clean removes what a solver that was killed had under way: nothing can be using it, because the lock is held.
func clean(state State) error {
	dirs := []string{state.temp()}
	for _, dir := range state.workers() {
		dirs = append(dirs, filepath.Join(dir, "executor"), filepath.Join(dir, "cachemounts"))
	}
	for _, dir := range dirs {
		left, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking for leftovers: %w", err)
		}
		for _, entry := range left {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return fmt.Errorf("removing leftovers of an earlier solver: %w", err)
			}
		}
	}
	return nil
}

// listen replaces a socket that a killed solver left.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing a stale socket: %w", err)
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", path, err)
	}
	return l, nil
}
