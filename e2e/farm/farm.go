// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config says what a farm is like.
type Config struct {
	// Hosts are its hosts, in an order in which a jump host is before those behind it.
	Hosts []HostConfig
	// Registry is a port of this machine's loopback, as in localhost:5000, that every host has at the same address. It is reached
	// over the host's link, so that a host that is cut off does not reach it. Empty: none.
	Registry string
}

// HostConfig says what a host is like.
type HostConfig struct {
	// Name is what the client's configuration and the host itself call it. It is made of letters and digits.
	Name string
	// Behind is the host that one must jump over to get to it. Empty: it is on the same network as this machine.
	Behind string
	// Disk is the size of all that can be written in the host, in MiB; 0 means 4096. It is memory, taken as it is used.
	Disk int
	// Locked makes the host let in the client's second key only, which has a Passphrase.
	Locked bool
}

// Passphrase is that of the client's second key.
const Passphrase = "open sesame"

// Farm is a number of hosts and the networks between them. It is not for several goroutines at once.
type Farm struct {
	cfg   Config
	dir   string
	net   *network
	hosts []*Host
	keys  clientKeys
	// served is the address on this machine's end of the network that leads to the registry.
	served *forward
}

// Start makes a farm and returns when every host lets the client in. The caller, who must be root, closes it; ctx is for the start alone.
func Start(ctx context.Context, cfg Config) (*Farm, error) {
	dir, err := os.MkdirTemp("", "mab-farm-")
	if err != nil {
		return nil, fmt.Errorf("starting a farm: %w", err)
	}
	f := &Farm{cfg: cfg, dir: dir}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not ready within a minute"))
	defer cancel()
	if err := f.start(ctx); err != nil {
		return nil, fmt.Errorf("starting a farm: %w", errors.Join(err, f.Close()))
	}
	return f, nil
}

func (f *Farm) start(ctx context.Context) error {
	// Users of the hosts read what is theirs in it.
	err := os.Chmod(f.dir, 0o755)
	if err == nil {
		f.keys, err = newClientKeys()
	}
	if err == nil {
		f.net, err = newNetwork(ctx)
	}
	if err == nil && f.cfg.Registry != "" {
		f.served, err = forwardHere(f.net.gateway()+":0", strings.Replace(f.cfg.Registry, "localhost:", "127.0.0.1:", 1))
	}
	if err != nil {
		return err
	}
	for _, cfg := range f.cfg.Hosts {
		h, err := f.newHost(ctx, cfg)
		if err != nil {
			return fmt.Errorf("host %q: %w", cfg.Name, err)
		}
		if err := h.StartSSHD(ctx); err != nil {
			return fmt.Errorf("host %q: %w", cfg.Name, err)
		}
	}
	return f.writeHome()
}

// Host returns the host of a name, which must be in the Config.
func (f *Farm) Host(name string) *Host {
	for _, h := range f.hosts {
		if h.cfg.Name == name {
			return h
		}
	}
	panic("there is no host " + name)
}

// Home is the client's home directory. Its .ssh has id_ed25519, id_locked with a Passphrase, known_hosts with the key of every host,
// and a config that knows each host by name and as root, with its jump host and its key.
func (f *Farm) Home() string { return filepath.Join(f.dir, "home") }

// KnownHosts is the client's file of that name. A test may write it.
func (f *Farm) KnownHosts() string { return filepath.Join(f.Home(), ".ssh", "known_hosts") }

// SSHConfig is the client's configuration file. A test may write it.
func (f *Farm) SSHConfig() string { return filepath.Join(f.Home(), ".ssh", "config") }

func (f *Farm) writeHome() error {
	ssh := filepath.Join(f.Home(), ".ssh")
	if err := os.MkdirAll(ssh, 0o700); err != nil {
		return err
	}
	var config, known strings.Builder
	for _, h := range f.hosts {
		key := "id_ed25519"
		if h.cfg.Locked {
			key = "id_locked"
		}
		fmt.Fprintf(&config, "Host %s\n\tHostName %s\n\tUser root\n", h.cfg.Name, h.addr)
		fmt.Fprintf(&config, "Host %s %s\n\tIdentityFile %s\n\tIdentitiesOnly yes\n\tUserKnownHostsFile %s\n",
			h.cfg.Name, h.addr, filepath.Join(ssh, key), f.KnownHosts())
		if h.cfg.Behind != "" {
			fmt.Fprintf(&config, "\tProxyJump root@%s\n", f.Host(h.cfg.Behind).addr)
		}
		known.WriteString(h.HostKey(22))
	}
	var err error
	for name, content := range map[string]string{
		"config": config.String(), "known_hosts": known.String(),
		"id_ed25519": string(f.keys.open), "id_locked": string(f.keys.locked),
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(ssh, name), []byte(content), 0o600))
	}
	return err
}

// Close ends every host with all that runs in it and returns when nothing is left. It may be called again.
func (f *Farm) Close() error {
	var errs error
	for _, h := range f.hosts {
		errs = errors.Join(errs, h.close())
	}
	f.hosts = nil
	if f.served != nil {
		errs = errors.Join(errs, f.served.Close())
		f.served = nil
	}
	if f.net != nil {
		errs = errors.Join(errs, f.net.close())
		f.net = nil
	}
	return errors.Join(errs, os.RemoveAll(f.dir))
}
