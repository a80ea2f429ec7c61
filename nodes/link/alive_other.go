// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package link

import "net"

// acknowledged is not known here.
func acknowledged(net.Conn) bool { return false }

// acknowledge cannot be asked for here.
func acknowledge(net.Conn) {}
