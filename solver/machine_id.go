// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// sharedKey lets the solver send only what changed since the last build of the same directory. The same path of another machine or user
// is another directory: of files with equal names, sizes and times the solver would keep the one that it has.
func sharedKey(dir string) string {
	path, err := filepath.Abs(dir)
	if err != nil {
		path = dir
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s", machineID(), os.Getuid(), path))
	return hex.EncodeToString(sum[:])
}

// machineID tells this machine from others: machine-id(5), and the name of the host since copies of a system have one id.
func machineID() string {
	host, _ := os.Hostname()
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if id, err := os.ReadFile(path); err == nil && len(id) > 0 {
			return host + "\x00" + string(id)
		}
	}
	return host
}
