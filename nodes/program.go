// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// program is a mab that can be brought to nodes of one architecture.
type program struct {
	arch, path string
	size       int64
	digest     string // SHA-256, hexadecimal
}

// findPrograms lists the programs that there are, one for each architecture, in the order of the table. The running program stands in for its own.
func findPrograms(ctx context.Context, dirs []string) ([]program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the programs for nodes: %w", err)
	}
	var out []program
	seen := map[string]bool{}
	for _, m := range machines {
		if seen[m.arch] {
			continue
		}
		seen[m.arch] = true
		for _, path := range candidates(programDirs(dirs, self), m.arch, self) {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				out = append(out, program{arch: m.arch, path: path, size: info.Size()})
				break
			}
		}
	}
	group := errgroup.Group{}
	for i := range out {
		group.Go(func() error {
			// A file that cannot be read counts as one that is not there: it may be for machines that nobody asks for.
			out[i].digest, _ = digests{}.of(ctx, out[i].path)
			return ctx.Err()
		})
	}
	err = group.Wait()
	return slices.DeleteFunc(out, func(p program) bool { return p.digest == "" }), err
}

// ProgramFor is the path of a mab for Linux on an architecture, as findPrograms finds it; false if there is none.
func ProgramFor(arch string) (string, bool) {
	self, err := os.Executable()
	if err != nil {
		return "", false
	}
	for _, path := range candidates(programDirs(nil, self), arch, self) {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, true
		}
	}
	return "", false
}

// programDirs are where programs are looked for.
func programDirs(dirs []string, self string) []string {
	if dirs != nil {
		return dirs
	}
	if dir := os.Getenv("MAB_DIST"); dir != "" {
		dirs = append(dirs, dir)
	}
	return append(dirs, filepath.Dir(self))
}

func candidates(dirs []string, arch, self string) []string {
	var out []string
	for _, dir := range dirs {
		out = append(out, filepath.Join(dir, "mab-linux-"+arch))
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == arch {
		out = append(out, self)
	}
	return out
}

// digests remembers the digests of files that did not change, in the user's cache: to compute those of a release takes longer than to reach
// a node. Where there is no such cache, nothing is remembered.
type digests struct{}

// digestEntry is what a file was when its digest was computed.
type digestEntry struct {
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"`
	Digest string    `json:"digest"`
}

// settled is how old a file must be for its time to tell that it did not change.
const settled = 2 * time.Second

func (d digests) of(ctx context.Context, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("reading the program for nodes: %w", err)
	}
	note := d.note(path)
	var known digestEntry
	if text, err := os.ReadFile(note); err == nil && json.Unmarshal(text, &known) == nil &&
		known.Size == info.Size() && known.Time.Equal(info.ModTime()) && len(known.Digest) == 2*sha256.Size {
		return known.Digest, nil
	}
	digest, err := fileDigest(ctx, path)
	if err == nil && time.Since(info.ModTime()) > settled {
		d.keep(note, digestEntry{info.Size(), info.ModTime(), digest})
	}
	return digest, err
}

// forget makes the digest of a file be computed anew.
func (d digests) forget(path string) { _ = os.Remove(d.note(path)) }

// note is the file for what is known of another; empty if there is no place for it.
func (digests) note(path string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	name := sha256.Sum256([]byte(path))
	return filepath.Join(dir, "mab", "digests", hex.EncodeToString(name[:8]))
}

// keep writes to a name of its own first: another mab may read it meanwhile.
func (digests) keep(note string, e digestEntry) {
	text, err := json.Marshal(e)
	if err != nil || note == "" || os.MkdirAll(filepath.Dir(note), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(note), ".new-")
	if err != nil {
		return
	}
	_, err = f.Write(text)
	if f.Close() != nil || err != nil || os.Rename(f.Name(), note) != nil {
		_ = os.Remove(f.Name())
	}
}

func fileDigest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the program for nodes: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, &interruptible{ctx.Err, f}); err != nil {
		return "", fmt.Errorf("reading the program for nodes: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// interruptible fails once its check does.
type interruptible struct {
	check func() error
	r     io.Reader
}

func (i *interruptible) Read(b []byte) (int, error) {
	if err := i.check(); err != nil {
		return 0, err
	}
	return i.r.Read(b)
}
