// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sync/errgroup"
)

// StartConfig says what a machine is like. Its zero value works.
type StartConfig struct {
	// CPU is the model, of those that "qemu-system-aarch64 -cpu help" lists; empty means neoverse-n1. That one runs 32-bit
	// programs; a64fx does not.
	CPU string
	// CPUs is how many there are; 0 means 2.
	CPUs int
	// Memory is in MiB; 0 means 2048.
	Memory int
	// Files are there when it boots. For much data this is quicker than Copy, which encrypts.
	Files []File
	// Timeout is how long it may take to boot; 0 means three minutes. It takes some seconds on an idle host.
	Timeout time.Duration
}

// Machine is a running machine, and a root shell in it. The host's loopback is 10.0.2.2 there.
type Machine struct {
	qemu   *qemu
	keys   keys
	port   int
	client *ssh.Client
	group  errgroup.Group
}

// Start boots a machine from the image and returns when its sshd has let the caller in. It runs until Close, and is killed if the
// program ends without it. Nothing that it writes reaches the image.
func Start(ctx context.Context, image Image, cfg StartConfig) (*Machine, error) {
	if cfg.CPU == "" {
		cfg.CPU = "neoverse-n1"
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = 2
	}
	if cfg.Memory == 0 {
		cfg.Memory = 2048
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 3 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, fmt.Errorf("not ready within %v", cfg.Timeout))
	defer cancel()
	m, err := start(ctx, image, cfg)
	if err != nil {
		return nil, fmt.Errorf("starting a machine with %s: %w", cfg.CPU, err)
	}
	return m, nil
}

func start(ctx context.Context, image Image, cfg StartConfig) (*Machine, error) {
	keys, err := newKeys()
	if err != nil {
		return nil, err
	}
	seed, err := seedOf(keys, cfg.Files)
	if err != nil {
		return nil, err
	}
	defer seed.Close()
	m := &Machine{keys: keys}
	if m.qemu, m.port, err = startQEMU(ctx, arguments(image, cfg), seed); err != nil {
		return nil, err
	}
	select {
	case <-m.qemu.console.ready:
		m.client, err = m.dial(ctx)
	case <-m.qemu.ended:
		err = fmt.Errorf("QEMU ended: %w", m.qemu.exit)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		m.qemu.close()
		return nil, fmt.Errorf("%w; the console's end:\n%s", err, m.qemu.console)
	}
	return m, nil
}

func (m *Machine) dial(ctx context.Context) (*ssh.Client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", m.Addr())
	if err != nil {
		return nil, err
	}
	// The handshake knows no context.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	secure, channels, requests, err := ssh.NewClientConn(conn, m.Addr(), &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(m.keys.client)}, HostKeyCallback: ssh.FixedHostKey(m.keys.host.PublicKey()),
	})
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("logging in: %w", err), ignoreClosed(conn.Close()))
	}
	return ssh.NewClient(secure, channels, requests), nil
}

// Addr is where this host reaches the machine's sshd, such as 127.0.0.1:40123. The user is root.
func (m *Machine) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.port)) }

// ClientKey is the private key that lets in, in OpenSSH's PEM form.
func (m *Machine) ClientKey() []byte { return m.keys.clientPEM }

// KnownHosts is the line of a known_hosts file for the machine.
func (m *Machine) KnownHosts() string {
	return knownhosts.Line([]string{m.Addr()}, m.keys.host.PublicKey()) + "\n"
}

// Console is the end of what kernel, sshd and QEMU said.
func (m *Machine) Console() string { return m.qemu.console.String() }

// Pid is QEMU's process.
func (m *Machine) Pid() int { return m.qemu.cmd.Process.Pid }

// Close kills the machine, whatever runs in it, and returns when it is gone. It may be called again.
func (m *Machine) Close() error {
	m.qemu.close()
	err := ignoreClosed(m.client.Close())
	return errors.Join(err, m.group.Wait())
}

// ignoreClosed drops the error of closing what the other side has closed.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
