// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/nodes"
)

// addKeeper adds what builds start when they are done with a node by SSH. It speaks to them, not to people.
func addKeeper(root *cobra.Command) {
	var cfg nodes.KeeperConfig
	cmd := &cobra.Command{
		Use:    "keep-links",
		Short:  "Keep links to nodes for the next build",
		Hidden: true,
		Args:   arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The socket is for this user alone.
			syscall.Umask(0o077)
			if err := syscall.SetNonblock(0, true); err != nil {
				return err
			}
			cfg.Wanted = os.NewFile(0, "stdin")
			return nodes.KeepLinks(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&cfg.Socket, "socket", "", "`path` where builds ask")
	cmd.Flags().DurationVar(&cfg.Idle, "idle", keepDefault, "how long a link is kept that nobody uses")
	root.AddCommand(cmd)
}

// keep has links kept for so long, in the directory of the solver's socket; nil where they cannot be.
func (o *options) keep(idle time.Duration) *nodes.Keep {
	state, err := o.state.Resolve()
	self, err2 := os.Executable()
	if err != nil || err2 != nil || os.MkdirAll(state.Runtime, 0o700) != nil {
		return nil
	}
	// Where others may write, the socket could be anybody's.
	var dir syscall.Stat_t
	if syscall.Stat(state.Runtime, &dir) != nil || int(dir.Uid) != os.Geteuid() || dir.Mode&0o022 != 0 {
		return nil
	}
	info, err := os.Stat(self)
	if err != nil {
		return nil
	}
	// Another program speaks to a keeper of its own.
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d %s", version, self, info.Size(), info.ModTime().UnixNano(), idle))
	socket := filepath.Join(state.Runtime, "links."+hex.EncodeToString(sum[:6])+".sock")
	const maxPath = 103 // of macOS, which has less room than Linux: unix(4)
	if len(socket) > maxPath {
		return nil
	}
	return &nodes.Keep{Socket: socket, Start: func() (io.WriteCloser, error) {
		cmd := exec.Command(self, "keep-links", "--socket", socket, "--idle", idle.String()) //nolint:noctx // it outlives this process
		cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Setsid: true}
		cmd.Env = keeperEnvironment(os.Environ())
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return nil, err
		}
		return in, cmd.Process.Release()
	}}
}

// keeperEnvironment is what finds programs for nodes, and names the user. What ssh's files ask the environment for, builds tell; the rest may hold secrets.
func keeperEnvironment(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return !slices.Contains([]string{"PATH", "HOME", "USER", "LOGNAME", "TZ", "XDG_CACHE_HOME", "MAB_DIST"}, name)
	})
}
