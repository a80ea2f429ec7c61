// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Artifact is something else than an image that is made of Debian's packages and kept in the cache, as a directory.
type Artifact struct {
	// Name is its directory in the cache.
	Name string
	// Platform and Suite say which packages it is made of, such as linux/arm64 of trixie.
	Platform, Suite string
	// Recipe is all else that the result depends on, in any form.
	Recipe string
	// Make fills the empty directory dir.
	Make func(ctx context.Context, packages *Packages, dir string) error
}

// Packages are those of one Debian suite for one platform.
type Packages struct {
	apt aptRoot
	dir string
}

// Download returns the files of the newest version of each package, in the order of names. They are there until Make returns.
func (p *Packages) Download(ctx context.Context, names ...string) ([]string, error) {
	return p.apt.download(ctx, p.dir, names)
}

// Source returns the tarball that a package's authors released, of its newest version. It is there until Make returns.
func (p *Packages) Source(ctx context.Context, name string) (string, error) {
	apt := p.apt
	apt.dir, apt.sources = apt.dir+"-sources", true
	dir, err := os.MkdirTemp(p.dir, "source-")
	if err != nil {
		return "", err
	}
	if err := apt.get(ctx, dir, "-q", "--download-only", "--only-source", "source", name); err != nil {
		return "", err
	}
	// Signatures end in .asc.
	found, err := filepath.Glob(filepath.Join(dir, "*.orig.tar.*[^c]"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("downloading source package %q: %d tarballs", name, len(found))
	}
	return found[0], nil
}

// Keep returns the directory in the cache that holds a. It is made if it is not there, and is there whole or not at all.
// Several processes may keep the same at once. The caller only reads the directory.
func Keep(ctx context.Context, cfg Config, a Artifact) (string, error) {
	dir, err := keep(ctx, cfg, a)
	if err != nil {
		return "", fmt.Errorf("making %q: %w", a.Name, err)
	}
	return dir, nil
}

func keep(ctx context.Context, cfg Config, a Artifact) (string, error) {
	m, err := newMaker(cfg)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(ports, func(p port) bool { return p.platform == a.Platform })
	if i < 0 {
		return "", fmt.Errorf("no Debian port for platform %q", a.Platform)
	}
	port := ports[i]
	port.release = release{suite: a.Suite}
	key := sha256.Sum256(fmt.Appendf(nil, "%d %q %q %q", format, a.Platform, a.Recipe, m.mirror.stanza(a.Suite)))
	dir := filepath.Join(m.cacheDir, a.Name, strings.ReplaceAll(a.Platform, "/", "-"), hex.EncodeToString(key[:8]))
	apt := aptRoot{dir: filepath.Join(m.cacheDir, "apt", port.debian+"-"+a.Suite), port: port, from: m.mirror}
	if isThere(dir) {
		return dir, nil
	}
	unlock, err := apt.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if isThere(dir) {
		return dir, nil
	}
	m.log.Info("making", "what", a.Name, "platform", a.Platform, "suite", a.Suite)
	return dir, renew(dir, func(temp string) error {
		packages := &Packages{apt: apt, dir: filepath.Join(temp, "packages")}
		made := filepath.Join(temp, "made")
		if err := errors.Join(os.Mkdir(packages.dir, 0o755), os.Mkdir(made, 0o755)); err != nil {
			return err
		}
		if err := a.Make(ctx, packages, made); err != nil {
			return err
		}
		return os.Rename(made, dir)
	})
}

func isThere(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// lock makes a's directory and keeps others from using it until unlock is called.
func (a aptRoot) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return nil, err
	}
	lock := flock.New(a.dir + ".lock")
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return nil, fmt.Errorf("locking %q: %w", lock.Path(), err)
	}
	return func() { _ = lock.Unlock() }, nil
}

// renew removes dir and calls fill with a temporary directory beside it, from which fill moves the new dir to its place when it is
// whole. The caller holds the lock of the apt root that fill uses.
func renew(dir string, fill func(temp string) error) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	// What is here was left by a process that died: the lock is ours.
	leftovers, err := filepath.Glob(filepath.Join(parent, tempPrefix+"*"))
	if err != nil {
		return err
	}
	for _, leftover := range append(leftovers, dir) {
		if err := os.RemoveAll(leftover); err != nil {
			return err
		}
	}
	temp, err := os.MkdirTemp(parent, tempPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	return fill(temp)
}
