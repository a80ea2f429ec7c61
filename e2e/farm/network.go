// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// network is two switches in a network namespace of their own: lan, to which this machine is connected, too, and back, which is for
// hosts behind others. With the process that holds the namespace all links go.
type network struct {
	holder *holder
	// prefix is the first part of the addresses of both: lan is prefix.0/24 with an even number, back the next.
	second, third int
	// link is the name of this machine's end.
	link  string
	hosts int
}

// made counts farms, for names and addresses.
var made atomic.Int32 //nolint:gochecknoglobals // two farms of one process must differ

func newNetwork(ctx context.Context) (*network, error) {
	number := int(made.Add(1))
	n := &network{link: fmt.Sprintf("mabf%d.%d", os.Getpid()%1e6, number)}
	if err := n.choose(os.Getpid()*4 + number); err != nil {
		return nil, err
	}
	var err error
	if n.holder, err = hold(ctx, "", "sleep"); err != nil {
		return nil, err
	}
	pid := strconv.Itoa(n.holder.pid())
	err = n.script(ctx, `ip link add lan type bridge && ip link add back type bridge && ip link set lan up && ip link set back up`)
	if err == nil {
		err = command(ctx, "ip", "link", "add", n.link, "type", "veth", "peer", "name", "uplink", "netns", pid)
	}
	if err == nil {
		err = n.script(ctx, "ip link set uplink master lan && ip link set uplink up")
	}
	if err == nil {
		err = command(ctx, "ip", "address", "add", n.gateway()+"/24", "dev", n.link)
	}
	if err == nil {
		err = command(ctx, "ip", "link", "set", n.link, "up")
	}
	if err == nil {
		// Nobody answers there, not even whoever stands where the default route leads to.
		err = command(ctx, "ip", "route", "add", n.address("back", 0)+"/24", "dev", n.link)
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// choose takes addresses of 10.64.0.0/10 that this machine does not use.
func (n *network) choose(seed int) error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for i := range 1 << 13 {
		at := (seed + i) % (1 << 13)
		n.second, n.third = 64+at>>7, at%(1<<7)*2
		if !n.taken(addrs) {
			return nil
		}
	}
	return errors.New("no addresses are free in 10.64.0.0/10")
}

func (n *network) taken(addrs []net.Addr) bool {
	for _, addr := range addrs {
		if ip, ok := addr.(*net.IPNet); ok {
			for _, mine := range []string{n.gateway(), n.address("back", 1)} {
				if ip.Contains(net.ParseIP(mine)) {
					return true
				}
			}
		}
	}
	return false
}

// gateway is this machine's address in lan.
func (n *network) gateway() string { return n.address("lan", 1) }

func (n *network) address(bridge string, host int) string {
	third := n.third
	if bridge == "back" {
		third++
	}
	return fmt.Sprintf("10.%d.%d.%d", n.second, third, host)
}

// connect gives the network namespace of a process a link to a switch, and returns its address there. The switch's end is
// called port.
func (n *network) connect(ctx context.Context, pid int, bridge, link, port string) (string, error) {
	n.hosts++
	addr := n.address(bridge, 1+n.hosts)
	holder := strconv.Itoa(pid)
	err := n.script(ctx, `ip link add "$1" type veth peer name "$2" netns "$3" && ip link set "$1" master "$4" && ip link set "$1" up`,
		port, link, holder, bridge)
	if err == nil {
		err = command(ctx, "nsenter", "--target", holder, "--net", "sh", "-c",
			`ip address add "$1/24" dev "$2" && ip link set "$2" up && ip link set lo up`, "sh", addr, link)
	}
	return addr, err
}

// script runs a shell's script where the switches are.
func (n *network) script(ctx context.Context, text string, args ...string) error {
	line := []string{"--target", strconv.Itoa(n.holder.pid()), "--net", "sh", "-c", text, "sh"}
	return command(ctx, "nsenter", append(line, args...)...)
}

func (n *network) close() error {
	err := n.holder.close()
	// The kernel removes the link a little later by itself. It may be gone already.
	_ = exec.Command("ip", "link", "delete", n.link).Run() //nolint:noctx // it ends at once
	for range 500 {
		if _, gone := net.InterfaceByName(n.link); gone != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(err, fmt.Errorf("link %s is left", n.link))
}

// command runs a program and puts what it says into the error.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s %q: %w: %s", name, args, err, strings.TrimSpace(string(out)))
	}
	return nil
}
