// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"bytes"
	"strings"
	"sync"
)

// consoleSize is how much of a console is kept, in bytes.
const consoleSize = 64 << 10

// console keeps the end of what a machine and QEMU say, and closes ready when the sign has been seen.
type console struct {
	sign  []byte
	ready chan struct{}

	mutex sync.Mutex
	said  []byte
	seen  bool
}

func newConsole(sign string) *console {
	return &console{sign: []byte(sign), ready: make(chan struct{})}
}

// Write adds to the console. It never fails.
func (c *console) Write(p []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.said = append(c.said, p...)
	if !c.seen && bytes.Contains(c.said, c.sign) {
		c.seen = true
		close(c.ready)
	}
	if over := len(c.said) - consoleSize; over > 0 {
		c.said = append(c.said[:0], c.said[over:]...)
	}
	return len(p), nil
}

// String is what is kept.
func (c *console) String() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return strings.ReplaceAll(string(c.said), "\r\n", "\n")
}
