// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const sshdConfig = `HostKey /run/farm/host_key
AuthorizedKeysFile /run/farm/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UsePAM no
Subsystem sftp internal-sftp
UseDNS no
PidFile none
LogLevel VERBOSE
`

// noPenalties is for sshd from 9.8 on: a test that is refused on purpose must not keep the next one out.
const noPenalties = "PerSourcePenalties no\n"

// sshdPath is absolute since sshd starts itself anew for each connection.
const sshdPath = "/usr/sbin/sshd"

// StartSSHD starts the host's sshd and returns when it answers. What it says is in SSHDLog.
func (h *Host) StartSSHD(ctx context.Context) error {
	file := filepath.Join(h.dir(), "sshd_config")
	for _, text := range []string{sshdConfig + noPenalties, sshdConfig} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		_, err := h.Run(ctx, sshdPath, "-t", "-f", "/run/farm/sshd_config")
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "PerSourcePenalties") {
			return err
		}
	}
	log, err := os.OpenFile(filepath.Join(h.dir(), "sshd.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := h.command(context.WithoutCancel(ctx), sshdPath, "-D", "-e", "-f", "/run/farm/sshd_config")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	h.sshd = cmd
	return h.answers(ctx)
}

// answers waits until sshd says its version.
func (h *Host) answers(ctx context.Context) error {
	for {
		conn, err := inNetwork(h.holder.pid(), func() (net.Conn, error) { return dial("127.0.0.1:22") })
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err = conn.Read(make([]byte, 4))
			_ = conn.Close()
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sshd does not answer: %w: %s", err, h.SSHDLog())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// SSHDLog is what the host's sshd has said.
func (h *Host) SSHDLog() string {
	text, _ := os.ReadFile(filepath.Join(h.dir(), "sshd.log"))
	return string(text)
}

// StopSSHD kills the host's sshd with all its connections; what users have started through them goes on. Nothing listens then.
func (h *Host) StopSSHD() error {
	if err := h.killSSHD(func(string) bool { return true }); err != nil {
		return err
	}
	_ = h.sshd.Wait() // It was killed.
	h.sshd = nil
	return nil
}

// KillConnections kills what sshd has started for each connection, and leaves sshd itself alone.
func (h *Host) KillConnections() error {
	return h.killSSHD(func(line string) bool { return !strings.Contains(line, "[listener]") })
}

func (h *Host) killSSHD(which func(line string) bool) error {
	for _, p := range h.all() {
		if !isSSHD(p.Line) || !which(p.Line) {
			continue
		}
		// From inside, where the number is the process's own.
		if err := h.Kill(context.Background(), p.PID); err != nil && !strings.Contains(err.Error(), "No such process") {
			return err
		}
	}
	return nil
}

// isSSHD reports whether a command line is one that sshd gives itself.
func isSSHD(line string) bool {
	return strings.HasPrefix(line, "sshd:") || strings.HasPrefix(line, "sshd-session:") || strings.HasPrefix(line, sshdPath)
}
