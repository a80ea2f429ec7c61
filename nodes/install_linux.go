// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// keepUnused is how long a program stays that nobody connects through.
	keepUnused = 3 * 24 * time.Hour
	// stale is how long nothing was written to a program on its way that will not come any more.
	stale = 10 * time.Second
)

// broughtName is how programs are called in their places, and arrivingName while they are on their way: see scriptRun and scriptBring.
var (
	broughtName  = regexp.MustCompile(`^mab-[0-9a-f]{64}$`)
	arrivingName = regexp.MustCompile(`^\.new-[0-9a-f]+$`)
)

// Install is this program on its way to its place on a node: it checks that its digest is as said, takes the name that goes with it, and
// removes others of mab's beside it that have not been used for days, and what was left of broken transfers.
func Install(ctx context.Context, digest string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	got, err := fileDigest(ctx, "/proc/self/exe")
	if err != nil {
		return err
	}
	dir, name := filepath.Split(self)
	if !arrivingName.MatchString(name) {
		return fmt.Errorf("putting the program into its place: %q is not on its way there", self)
	}
	if got != digest {
		return fmt.Errorf("checking the program that was brought: its digest is %s, not %s", got, digest)
	}
	// After a crash of the machine the name must not stand for half of the program.
	f, err := os.Open(self)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(self, filepath.Join(dir, "mab-"+digest))
	}
	if err != nil {
		return fmt.Errorf("putting the program into its place: %w", err)
	}
	prune(dir, "mab-"+digest)
	return nil
}

// Used notes that the running program is in use, so that the next Install lets it stay.
func Used() {
	self, err := os.Executable()
	if err == nil && broughtName.MatchString(filepath.Base(self)) {
		now := time.Now()
		_ = os.Chtimes(self, now, now)
	}
}

// prune removes what is neither new nor used from a directory of programs. What it cannot remove does no harm.
func prune(dir, keep string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	used := filesInUse()
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil || e.Name() == keep || used[path] {
			continue
		}
		age := time.Since(info.ModTime())
		if broughtName.MatchString(e.Name()) && age > keepUnused || arrivingName.MatchString(e.Name()) && age > stale {
			_ = os.Remove(path)
		}
	}
}

// filesInUse are the files that this user's processes run or have open.
func filesInUse() map[string]bool {
	out := map[string]bool{}
	for _, pattern := range []string{"/proc/[0-9]*/exe", "/proc/[0-9]*/fd/*"} {
		links, _ := filepath.Glob(pattern)
		for _, link := range links {
			if path, err := os.Readlink(link); err == nil && strings.HasPrefix(path, "/") {
				out[path] = true
			}
		}
	}
	return out
}

// Uninstall removes every program of mab's that was brought to this machine for this user, the running one too, and the directories that
// are empty then.
func Uninstall() error {
	var failed error
	for _, dir := range places() {
		var stat unix.Stat_t
		if unix.Lstat(dir, &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFDIR || int(stat.Uid) != os.Geteuid() {
			continue
		}
		entries, err := os.ReadDir(dir)
		failed = errors.Join(failed, err)
		for _, e := range entries {
			if broughtName.MatchString(e.Name()) || arrivingName.MatchString(e.Name()) {
				failed = errors.Join(failed, os.Remove(filepath.Join(dir, e.Name())))
			}
		}
		// Directories with something in them stay.
		if os.Remove(dir) == nil && filepath.Base(dir) == "bin" {
			above := filepath.Dir(dir)
			if os.Remove(above) == nil && filepath.Base(filepath.Dir(above)) == ".cache" {
				_ = os.Remove(filepath.Dir(above))
			}
		}
	}
	if failed != nil {
		return fmt.Errorf("removing mab's programs: %w", failed)
	}
	return nil
}

// places are those of scriptPlaces.
func places() []string {
	var out []string
	cache := os.Getenv("XDG_CACHE_HOME")
	if home := os.Getenv("HOME"); cache == "" && home != "" {
		cache = filepath.Join(home, ".cache")
	}
	if cache != "" {
		out = append(out, filepath.Join(cache, "mab", "bin"))
	}
	name := "mab-" + strconv.Itoa(os.Getuid())
	out = append(out, filepath.Join("/var/tmp", name))
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		out = append(out, filepath.Join(dir, "mab", "bin"))
	}
	return append(out, filepath.Join("/tmp", name))
}
