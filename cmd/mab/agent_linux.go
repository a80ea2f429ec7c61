// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// addAgent adds what coordinators call on nodes. It speaks to them, not to people.
func addAgent(root *cobra.Command, o *options) {
	a := &agentCommand{options: o}
	cmd := &cobra.Command{
		Use:    "agent",
		Short:  "What a coordinator runs on a node",
		Hidden: true,
		Args:   arguments(0, 0, "no argument"),
		RunE:   func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	logs := a.command("logs", "Tell the end of the solver's log", a.logs)
	logs.Flags().IntVar(&a.lines, "lines", 100, "at most so many `lines`")
	purge := a.command("purge", "Stop the solver, and remove all that mab has on this machine for this user", a.purge)
	purge.Flags().BoolVar(&a.force, "force", false, "stop builds that run")
	install := a.command("install DIGEST", "Check this program, and put it into its place", func(ctx context.Context, args []string) (nodes.Answer, error) {
		return nodes.Answer{}, nodes.Install(ctx, args[0])
	})
	install.Args = arguments(1, 1, "a digest")
	sweep := &cobra.Command{
		Use: "sweep", Short: "Remove the solver's state, inside a sandbox", Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := sandbox.Enter(); err != nil {
				return err
			}
			return solver.Sweep(cmd.Context(), a.state)
		},
	}
	cmd.AddCommand(sweep, a.command("connect", "Connect standard input and output to the solver", a.connect), install, logs, purge)
	root.AddCommand(cmd)
}

type agentCommand struct {
	*options
	lines int
	force bool
}

// command answers on standard output whatever happens, since nobody reads anything else.
func (a *agentCommand) command(use, short string, do func(context.Context, []string) (nodes.Answer, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := settle()
			var answer nodes.Answer
			if err == nil {
				// Those who wait can tell one that takes its time from a silent machine by it.
				err = nodes.Answer{Mab: version}.Write(a.std.out)
			}
			if err == nil {
				answer, err = do(cmd.Context(), args)
			}
			if errors.Is(err, errDone) {
				return nil
			}
			if err != nil {
				answer.Error, answer.Hint = err.Error(), hintThere(err)
			}
			answer.Mab = version
			return errors.Join(err, answer.Write(a.std.out))
		},
	}
}

// hintThere is the mend of an error for somebody on another machine.
func hintThere(err error) string {
	var known interface{ Hint() string }
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
		return "let the user write there, or have sshd name another directory: SetEnv MAB_ROOT=DIR in its sshd_config"
	case errors.As(err, &known):
		return known.Hint()
	}
	return ""
}

// errDone ends a command that has answered.
var errDone = errors.New("answered")

// connect starts the solver if need be, and then is the connection to it, until either side ends.
func (a *agentCommand) connect(ctx context.Context, _ []string) (nodes.Answer, error) {
	w := newWire(a.std)
	hello, err := w.hello(helloWait)
	if err != nil {
		return nodes.Answer{}, err
	}
	config, err := keepConfig(a.state, hello.Solver)
	if err != nil {
		return nodes.Answer{}, err
	}
	ready := nodes.Answer{Mab: version, Ready: true}
	attach := solver.AttachConfig{State: a.state, Config: config, Note: func(text string) { ready.Notes = append(ready.Notes, text) }}
	client, info, err := solver.Attach(ctx, attach)
	if err != nil {
		return nodes.Answer{}, err
	}
	defer func() { _ = client.Close() }()
	state, err := a.state.Resolve()
	if err != nil {
		return nodes.Answer{}, err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: state.Socket(), Net: "unix"})
	if err != nil {
		return nodes.Answer{}, fmt.Errorf("connecting to the solver: %w", err)
	}
	nodes.Used()
	if info.Mab == version && info.Config == config.Digest() {
		ready.Door = state.Door(config)
	}
	if err := ready.Write(w.out); err != nil {
		return nodes.Answer{}, errors.Join(err, conn.Close())
	}
	w.relay(ctx, conn)
	return nodes.Answer{}, errDone
}

func (a *agentCommand) logs(_ context.Context, _ []string) (nodes.Answer, error) {
	text, err := solver.LogEnd(a.state, a.lines)
	return nodes.Answer{Log: text}, err
}

func (a *agentCommand) purge(ctx context.Context, _ []string) (nodes.Answer, error) {
	if err := solver.Purge(ctx, a.state, a.force); err != nil {
		return nodes.Answer{}, err
	}
	return nodes.Answer{}, nodes.Uninstall()
}

// keepConfig returns the config that the solver is to have: the coordinator's, else that of this machine.
func keepConfig(state solver.State, given nodes.SolverConfig) (solver.Config, error) {
	if given.Toml == "" {
		return readConfig()
	}
	path, err := solver.Portable{Toml: given.Toml, Files: given.Files}.Keep(state)
	if err != nil {
		return solver.Config{}, fmt.Errorf("keeping the coordinator's config: %w", err)
	}
	return solver.ReadConfig(path)
}

// settle finds what sshd's environment may lack: a home, and the directories of runc and the like.
func settle() error {
	if os.Getenv("HOME") == "" {
		account, err := user.Current()
		if err != nil {
			return fmt.Errorf("finding the user's home: %w", err)
		}
		if err := os.Setenv("HOME", account.HomeDir); err != nil {
			return err
		}
	}
	path := filepath.SplitList(os.Getenv("PATH"))
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !slices.Contains(path, dir) {
			path = append(path, dir)
		}
	}
	return os.Setenv("PATH", strings.Join(path, string(os.PathListSeparator)))
}
