// SPDX-License-Identifier: Apache-2.0

package link

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
)

// Mark sums up all that decides where a link of this config leads, and who may make it: what the user's files say of each server on the way, which
// host keys it may have, and the files of the user's own keys and the socket of the agent as they are now. A link that was made under a mark may
// stand in for a new one for as long as the mark is the same. It is empty where none may: a ProxyCommand can lead anywhere. It connects to nobody.
func Mark(cfg Config) (string, error) {
	cfg.Note = nil // What is to be said of the files is said when the link is made.
	d, err := newDialer(cfg)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, h := range d.route {
		if h.command != "" {
			return "", nil
		}
		_, _ = fmt.Fprintf(sum, "%#v\n", h)
		for _, line := range newHostKeys(h).all() {
			_, _ = fmt.Fprintf(sum, "%q %q %x\n", line.marker, line.hosts, line.key.Marshal())
		}
		for _, path := range slices.Concat(h.keys, h.certificates, []string{h.agent}) {
			for _, name := range []string{path, path + ".pub", path + "-cert.pub"} {
				markFile(sum, name)
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// markFile tells a file from what it was before, and from none.
func markFile(to io.Writer, path string) {
	if info, err := os.Stat(path); err == nil {
		_, _ = fmt.Fprintf(to, "%q %d %d %v\n", path, info.Size(), info.ModTime().UnixNano(), info.Mode())
	}
}
