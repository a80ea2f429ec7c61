// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Cut takes the host off its network: what is sent to it or by it is lost, and nobody is told.
func (h *Host) Cut(ctx context.Context) error {
	return h.farm.net.script(ctx, `ip link set "$1" nomaster`, h.port())
}

// Mend undoes Cut.
func (h *Host) Mend(ctx context.Context) error {
	bridge := "lan"
	if h.cfg.Behind != "" {
		bridge = "back"
	}
	return h.farm.net.script(ctx, `ip link set "$1" master "$2"`, h.port(), bridge)
}

// Shape makes the host's link carry so many Mbit/s at most, each way; 0 is as many as it can.
func (h *Host) Shape(ctx context.Context, mbit int) error {
	script := `tc qdisc del dev "$1" root 2>/dev/null; [ "$2" = 0 ] || tc qdisc add dev "$1" root tbf rate "$2"mbit burst 64kb latency 200ms`
	err := h.farm.net.script(ctx, script, h.port(), strconv.Itoa(mbit))
	return errors.Join(err, command(ctx, "nsenter", "--target", strconv.Itoa(h.holder.pid()), "--net", "sh", "-c", script, "sh", "eth0", strconv.Itoa(mbit)))
}

func (h *Host) fill() string { return filepath.Join(h.Root(), "run/disk/fill") }

// FillDisk leaves so many bytes of the host's disk.
func (h *Host) FillDisk(but int64) error {
	file, err := os.OpenFile(h.fill(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	var stat syscall.Statfs_t
	if err := syscall.Fstatfs(int(file.Fd()), &stat); err != nil {
		return errors.Join(err, file.Close())
	}
	_, err = io.CopyN(file, zeros{}, int64(stat.Bfree)*stat.Bsize-but)
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

// FreeDisk undoes FillDisk.
func (h *Host) FreeDisk() error { return os.Remove(h.fill()) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Kill kills the process of a number in the host.
func (h *Host) Kill(ctx context.Context, pid int) error {
	_, err := h.Run(ctx, "kill", "-9", fmt.Sprint(pid))
	return err
}

// Traffic is how many bytes have come to the host over its link, and how many it has sent.
func (h *Host) Traffic() (received, sent int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", h.holder.pid()))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		// The columns are those of proc_pid_net(5): eight for what came, then those for what went.
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		if fields := strings.Fields(rest); name == "eth0" && len(fields) > 8 {
			received, _ = strconv.ParseInt(fields[0], 10, 64)
			sent, _ = strconv.ParseInt(fields[8], 10, 64)
		}
	}
	return received, sent
}
