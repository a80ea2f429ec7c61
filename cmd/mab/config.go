// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/user"
	"strconv"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/solver"
)

// configVariable names the buildkitd.toml; empty, there is none.
const configVariable = "MAB_BUILDKITD_CONFIG"

// configFile is what the variable names, else the file at its usual place.
func configFile() (string, error) {
	if path, ok := os.LookupEnv(configVariable); ok {
		return path, nil
	}
	return solver.DefaultConfigFile()
}

func readConfig() (solver.Config, error) {
	path, err := configFile()
	if err != nil {
		return solver.Config{}, err
	}
	return solver.ReadConfig(path)
}

// attach says how this command gets to the local solver.
func (o *options) attach() (solver.AttachConfig, error) {
	config, err := readConfig()
	if err != nil {
		return solver.AttachConfig{}, err
	}
	return solver.AttachConfig{State: o.state, Config: config, Note: func(text string) { o.note("%s", text) }}, nil
}

// serveFlags have BuildKit's names: https://github.com/moby/buildkit/blob/v0.33.1/cmd/buildkitd/main.go
func (s *serveCommand) serveFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.config, "config", "", "a buildkitd.toml, a `file` (default: buildkitd.toml in /etc/mab, for others than root in $XDG_CONFIG_HOME/mab, if it is there; env "+configVariable+")")
	flags.StringArrayVar(&s.listen.Addresses, "addr", nil, "serve others on this `address` too: unix://PATH, tcp://HOST:PORT (repeatable)")
	flags.StringVar(&s.listen.TLS.Cert, "tlscert", "", "certificate of the server, a PEM `file`")
	flags.StringVar(&s.listen.TLS.Key, "tlskey", "", "its key, a PEM `file`")
	flags.StringVar(&s.listen.TLS.CA, "tlscacert", "", "the CA that signs clients' certificates, a PEM `file`")
	flags.StringVar(&s.group, "group", "", "`name` or number of the group that may use the unix sockets of --addr")
	flags.StringArrayVar(&s.cfg.Entitlements, "allow-insecure-entitlement", nil, "`what` builds may ask for: network.host, security.insecure (repeatable; default both, but none with --addr)")
}

// settings reads the config, and puts the flags over it.
func (s *serveCommand) settings(flags *pflag.FlagSet) (solver.Config, error) {
	path, err := s.config, error(nil)
	if !flags.Changed("config") {
		path, err = configFile()
	}
	if err != nil {
		return solver.Config{}, err
	}
	config, err := solver.ReadConfig(path)
	if err != nil {
		return solver.Config{}, err
	}
	for _, e := range s.cfg.Entitlements {
		if e != "network.host" && e != "security.insecure" {
			return solver.Config{}, usage{fmt.Errorf("understanding --allow-insecure-entitlement %q", e), "choose network.host or security.insecure"}
		}
	}
	s.cfg.Config, s.cfg.OnDemand = config, s.started
	if s.started {
		// Who is served besides, is for those to say who run a solver themselves.
		return config, nil
	}
	if s.cfg.Listen, err = s.listening(config.Listen); err != nil {
		return solver.Config{}, err
	}
	if err := s.cfg.Listen.Check(); err != nil {
		return solver.Config{}, err
	}
	if !inSandbox() {
		s.notes(config)
	}
	return config, nil
}

func (s *serveCommand) listening(out solver.Listening) (solver.Listening, error) {
	if len(s.listen.Addresses) > 0 {
		out.Addresses = s.listen.Addresses
	}
	for _, f := range []struct {
		to    *string
		given string
	}{{&out.TLS.Cert, s.listen.TLS.Cert}, {&out.TLS.Key, s.listen.TLS.Key}, {&out.TLS.CA, s.listen.TLS.CA}} {
		if f.given != "" {
			*f.to = f.given
		}
	}
	if s.group == "" {
		return out, nil
	}
	gid, err := groupID(s.group)
	if err != nil {
		return out, usage{fmt.Errorf("understanding --group %q: %w", s.group, err), "name a group of this machine, or give its number"}
	}
	if os.Geteuid() != 0 {
		// In the solver's namespace the number is another group's.
		return out, usage{fmt.Errorf("understanding --group %q: only root can serve another group", s.group), "have root run mab serve, or serve by TCP: --addr tcp://127.0.0.1:PORT"}
	}
	out.GID = &gid
	return out, nil
}

func groupID(name string) (int, error) {
	if gid, err := strconv.Atoi(name); err == nil {
		return gid, nil
	}
	group, err := user.LookupGroup(name)
	if err != nil {
		return 0, errors.New("there is no such group")
	}
	return strconv.Atoi(group.Gid)
}

func (s *serveCommand) notes(config solver.Config) {
	for _, n := range config.Notes {
		s.note(n)
	}
	for _, address := range s.cfg.Listen.Open() {
		s.note("every user of this machine can build, and run programs as the solver, on " + address)
	}
}

// serveLog sets BuildKit's log up, and returns mab's, both as a config says.
func serveLog(w io.Writer, config solver.Config) *slog.Logger {
	if level, err := logrus.ParseLevel(config.LogLevel); err == nil {
		logrus.SetLevel(level)
	}
	options := &slog.HandlerOptions{Level: slogLevel(logrus.GetLevel())}
	if config.LogFormat == "json" {
		logrus.SetFormatter(warnings{&logrus.JSONFormatter{}})
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func slogLevel(level logrus.Level) slog.Level {
	switch {
	case level >= logrus.DebugLevel:
		return slog.LevelDebug
	case level == logrus.InfoLevel:
		return slog.LevelInfo
	case level == logrus.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// tellManager says to systemd, if that started the solver, that it is ready: sd_notify(3).
func tellManager() {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte("READY=1"))
	_ = conn.Close()
	// runc would wait for each step to say the same.
	_ = os.Unsetenv("NOTIFY_SOCKET")
}
