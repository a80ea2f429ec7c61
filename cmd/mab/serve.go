// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mab-build/mab/solver"
)

type serveCommand struct {
	*options
	cfg       solver.ServeConfig
	cacheSize string
	cacheAge  string
	config    string
	listen    solver.Listening
	group     string
	started   bool
	stop      bool
}

func newServe(o *options) *cobra.Command {
	s := &serveCommand{options: o}
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Run the solver (builds start it by themselves)",
		Long: `Run the solver in this terminal, until it is interrupted.

Builds start a solver by themselves where none runs, and attach to one that does. It speaks BuildKit's API on its socket,
so that buildctl and other clients of BuildKit work with it. For others it listens on further addresses (--addr), by TCP with
mutual TLS only, but for the loopback. --config takes a buildkitd.toml.`,
		Example: `  mab serve
  mab serve --stop
  buildctl --addr unix:///run/mab/solver.sock debug workers
  mab serve --addr tcp://0.0.0.0:1234 --tlscert server.pem --tlskey server-key.pem --tlscacert ca.pem`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	flags := cmd.Flags()
	flags.DurationVar(&s.cfg.Idle, "idle", 0, "stop after this `time` without a connection; 0: never")
	flags.StringVar(&s.cacheSize, "cache-size", env("MAB_CACHE_SIZE", "0"), "the most the cache may take on disk, as 20GB; 0: by the size of the disk (env MAB_CACHE_SIZE)")
	flags.StringVar(&s.cacheAge, "cache-age", env("MAB_CACHE_AGE", "0s"), "how long an unused cache entry is kept, as 720h; 0s: 60 days while there is room (env MAB_CACHE_AGE)")
	s.serveFlags(flags)
	flags.BoolVar(&s.stop, "stop", false, "stop the running solver; its cache stays")
	flags.BoolVar(&s.started, "started", false, "started by a build: say on descriptor 3 when ready")
	_ = flags.MarkHidden("started")
	return cmd
}

func (s *serveCommand) run(cmd *cobra.Command) error {
	if s.stop {
		return solver.Stop(cmd.Context(), s.state)
	}
	// In its namespaces the solver would find another default.
	config, err := s.settings(cmd.Flags())
	if err != nil {
		return err
	}
	size, err := units.FromHumanSize(s.cacheSize)
	if err != nil || size < 0 {
		return usage{fmt.Errorf("understanding --cache-size %q", s.cacheSize), "write a size such as 20GB"}
	}
	if s.cfg.Limits.CacheAge, err = time.ParseDuration(s.cacheAge); err != nil || s.cfg.Limits.CacheAge < 0 {
		return usage{fmt.Errorf("understanding --cache-age %q", s.cacheAge), "write a time such as 720h"}
	}
	s.cfg.Limits.CacheSize = size
	s.cfg.State = s.state
	s.cfg.Log = serveLog(s.std.err, config)
	args := append(os.Args[1:], "--config="+config.File)
	if !s.started {
		s.cfg.Ready = tellManager
		return serve(cmd.Context(), s.cfg, args)
	}
	var parent solver.Parent
	s.cfg.Ready = parent.Ready
	err = serve(cmd.Context(), s.cfg, args)
	if err != nil {
		parent.Failed(err)
	}
	return err
}

const stopGrace = 10 * time.Second

// ended is a solver that ended by itself, after it said why.
type ended struct{ code int }

func (e ended) Error() string { return fmt.Sprintf("the solver ended with code %d", e.code) }
