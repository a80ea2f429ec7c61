// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/mab-build/mab/manifestlist"
)

// BuildKey names what is built, so that builds of the same are known as such: the same context, Dockerfile, stage, and repository of the
// first tag, whatever the commit, the tag and the token in a URL. It is a hash: nothing of the request can be read from it.
func BuildKey(r Request) string {
	parts := []string{place(r.Context), r.File, r.Target, ""}
	if r.File != "" && !strings.Contains(r.File, "://") && r.File != "-" {
		parts[1] = place(r.File)
	}
	if len(r.Tags) > 0 {
		parts[3] = r.Tags[0]
		if ref, err := manifestlist.ParseReference(r.Tags[0]); err == nil {
			parts[3] = ref.Name()
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// place is a path or a URL without what changes from build to build: credentials, query, and the revision of a git repository, which is
// in the fragment before a colon.
func place(at string) string {
	scp := strings.HasPrefix(at, "git@")
	if at == "-" || (!scp && !strings.Contains(at, "://") && !strings.HasPrefix(at, "github.com/")) {
		if abs, err := filepath.Abs(at); err == nil && at != "-" {
			return abs
		}
		return at
	}
	at, fragment, _ := strings.Cut(at, "#")
	_, dir, _ := strings.Cut(fragment, ":")
	if u, err := url.Parse(at); err == nil && !scp {
		u.User, u.RawQuery = nil, ""
		at = u.String()
	}
	return at + "#" + dir
}
