// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// User is the plain user of every host, who has subordinate ids. The other is root.
const User = "pi"

// Host is a machine of a farm.
type Host struct {
	farm   *Farm
	cfg    HostConfig
	addr   string
	key    key
	holder *holder
	// initial are its mounts as they were at first.
	initial  map[string]bool
	forwards []*forward
	sshd     *exec.Cmd
}

// setup makes a host's file systems: all that can be written is on one disk. $0 is the farm's directory for the host, $1 the disk's
// size in MiB, $2 the name. What this machine has in these directories is not seen in the host.
const setup = `
hostname "$2"
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/farm /run/sshd /run/disk /run/lock
mount --bind "$0" /run/farm
mount -t tmpfs -o mode=755,size="$1"m disk /run/disk
mkdir -p /run/disk/lib /run/disk/root /run/disk/home/pi
mkdir -m 1777 /run/disk/tmp /run/disk/var
chmod 700 /run/disk/root
chown -R 1000:1000 /run/disk/home/pi
for file in passwd group shadow subuid subgid; do
	[ ! -e /etc/$file ] || mount --bind /run/farm/etc/$file /etc/$file
done
mount --bind /run/disk/lib /var/lib
mount --bind /run/disk/root /root
mount --bind /run/disk/home /home
mount --bind /run/disk/var /var/tmp
mount --bind /run/disk/tmp /tmp
cd /`

// etc are the account files of a host.
var etc = map[string]string{
	"passwd": "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\npi:x:1000:1000::/home/pi:/bin/sh\n",
	"group":  "root:x:0:\npi:x:1000:\nnogroup:x:65534:\n",
	"shadow": "root:*:20000:0:99999:7:::\nsshd:*:20000:0:99999:7:::\npi:*:20000:0:99999:7:::\n",
	"subuid": "pi:100000:65536\n",
	"subgid": "pi:100000:65536\n",
}

func (f *Farm) newHost(ctx context.Context, cfg HostConfig) (*Host, error) {
	if cfg.Disk == 0 {
		cfg.Disk = 4096
	}
	h := &Host{farm: f, cfg: cfg}
	err := h.write()
	if err == nil {
		h.holder, err = hold(ctx, setup, h.dir(), strconv.Itoa(cfg.Disk), cfg.Name)
	}
	if err != nil {
		return nil, err
	}
	// From here on the farm closes it.
	f.hosts = append(f.hosts, h)
	if cfg.Behind == "" {
		h.addr, err = f.net.connect(ctx, h.holder.pid(), "lan", "eth0", h.port())
	} else {
		err = f.behind(ctx, h)
	}
	if err == nil && f.served != nil {
		err = h.Forward(f.cfg.Registry, f.served.addr)
	}
	if err == nil {
		h.initial, err = h.mounts()
	}
	return h, err
}

// behind connects a host to the other switch, and the host that it is behind if it is not yet there.
func (f *Farm) behind(ctx context.Context, h *Host) error {
	jump := f.Host(h.cfg.Behind)
	if err := command(ctx, "nsenter", "--target", strconv.Itoa(jump.holder.pid()), "--net", "ip", "link", "show", "eth1"); err != nil {
		if _, err := f.net.connect(ctx, jump.holder.pid(), "back", "eth1", jump.port()+"b"); err != nil {
			return err
		}
	}
	var err error
	h.addr, err = f.net.connect(ctx, h.holder.pid(), "back", "eth0", h.port())
	return err
}

// port is what the switch calls the host's link.
func (h *Host) port() string { return "p-" + h.cfg.Name }

// dir is where the farm keeps what is the host's. The host has it as /run/farm.
func (h *Host) dir() string { return filepath.Join(h.farm.dir, h.cfg.Name) }

// write writes what the host reads.
func (h *Host) write() error {
	var err error
	if h.key, err = newKey(""); err != nil {
		return err
	}
	allowed := h.farm.keys.openPublic
	if h.cfg.Locked {
		allowed = h.farm.keys.lockedPublic
	}
	files := map[string][]byte{"host_key": h.key.private, "authorized_keys": allowed}
	for name, content := range etc {
		files["etc/"+name] = []byte(content)
	}
	err = os.MkdirAll(filepath.Join(h.dir(), "etc"), 0o755)
	for name, content := range files {
		mode := os.FileMode(0o644)
		if name == "host_key" {
			mode = 0o600
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(h.dir(), name), content, mode))
	}
	return err
}

// Addr is the host's address.
func (h *Host) Addr() string { return h.addr }

// URL is how mab names the host as a node, for root or the User.
func (h *Host) URL(user string) string { return "ssh://" + user + "@" + h.addr }

// HostKey is the line of a known_hosts file for the host's sshd at a port.
func (h *Host) HostKey(port int) string {
	return knownhosts.Line([]string{fmt.Sprintf("%s:%d", h.addr, port)}, h.key.public) + "\n"
}

// Fingerprint is that of the host's key, as OpenSSH shows it.
func (h *Host) Fingerprint() string { return ssh.FingerprintSHA256(h.key.public) }

// Root is where this machine sees the host's file system.
func (h *Host) Root() string { return fmt.Sprintf("/proc/%d/root", h.holder.pid()) }

// Run runs a program in the host as root, with the mounts, processes and network that it has, and returns its standard output.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	cmd := h.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("running %q on %s: %w: %s", args, h.cfg.Name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func (h *Host) command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(h.holder.pid()), "--mount", "--net", "--pid", "--uts", "--ipc", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd
}

func (h *Host) close() error {
	err := h.holder.close()
	if h.sshd != nil {
		_ = h.sshd.Wait() // It was killed.
	}
	for _, forward := range h.forwards {
		err = errors.Join(err, forward.Close())
	}
	h.forwards = nil
	return err
}
