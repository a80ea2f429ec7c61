// SPDX-License-Identifier: Apache-2.0

package runc

import "context"

// Config says where to look. The zero value serves a program that carries no runc: it looks in $PATH.
type Config struct {
	// Dir is where a carried runc is unpacked; it is made if need be, and belongs to this package. Only a program that
	// carries none may leave it empty.
	Dir string
	// Path is searched as $PATH is. Empty: $PATH, and then the directories named sbin.
	Path string
}

// Runc is a program that can run BuildKit's steps.
type Runc struct {
	// Path is absolute.
	Path string
	// Version is as the program itself tells it, such as "1.5.2". Where the program is not runc, its name comes before
	// it: "crun 1.15".
	Version string
	// Seccomp is the version of libseccomp in it, or "yes" where the program does not tell the version.
	Seccomp string
	// Carried tells that it came with this program.
	Carried bool
}

// Find returns the runc that this program carries, unpacked into cfg.Dir unless it is there, else the first of buildkit-runc
// and runc in the path. It may be called by several processes at once with the same Dir. Its errors name the file, and
// have a hint.
func Find(ctx context.Context, cfg Config) (Runc, error) {
	return find(ctx, cfg, carried())
}

func find(ctx context.Context, cfg Config, carried parcel) (Runc, error) {
	if carried.program != "" {
		return carried.unpack(ctx, cfg.Dir)
	}
	path, err := lookUp(cfg.Path)
	if err != nil {
		return Runc{}, err
	}
	return check(ctx, path)
}
