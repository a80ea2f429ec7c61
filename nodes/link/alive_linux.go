// SPDX-License-Identifier: Apache-2.0

package link

import (
	"net"

	"golang.org/x/sys/unix"
)

// acknowledged reports whether the machine on the other side has acknowledged all that was sent to it a while ago: its kernel lives then,
// and the line is whole, even if its sshd is slow. What is not acknowledged is sent again, and a machine that takes no more is probed,
// which TCP_INFO counts (tcp(7)).
func acknowledged(conn net.Conn) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		alive = err == nil && info.Retransmits == 0 && info.Probes <= 1
	})
	return err == nil && alive
}

// acknowledge has the kernel say at once that what came has come. It would wait 40 ms for something to send along, and so long does OpenSSH's
// server keep back what it says after the login, until the first session is open (TCP_QUICKACK, tcp(7)).
func acknowledge(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	}
}
