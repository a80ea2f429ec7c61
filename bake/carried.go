// SPDX-License-Identifier: Apache-2.0

package bake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/klauspost/compress/zstd"
)

// parcel is a reader that this program carries, as command carry packs it: its SHA-256 digest, then the program compressed by zstd. Empty is none.
type parcel string

const (
	// lockName is the one name in the directory that is no digest.
	lockName = "lock"
	lockPoll = 10 * time.Millisecond
	// outdated is how long a reader is kept that another version of mab unpacked.
	outdated = 24 * time.Hour
)

// unpack returns the reader in dir, under its digest. It is put there unless it is: under another name first, so that what has the right
// name is always whole, and with its digest checked. Several may do so at once.
func (p parcel) unpack(ctx context.Context, dir string) (string, error) {
	if dir == "" {
		return "", &placeError{errors.New("this user has no cache directory")}
	}
	if len(p) < sha256.Size {
		return "", &damagedError{errors.New("it is cut short")}
	}
	digest := hex.EncodeToString([]byte(p[:sha256.Size]))
	path := filepath.Join(dir, digest, programName())
	if present(path) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", &placeError{err}
	}
	lock := flock.New(filepath.Join(dir, lockName))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return "", &placeError{err}
	}
	defer lock.Unlock()
	if present(path) {
		return path, nil
	}
	removeOutdated(dir, digest)
	return path, p.write(path, digest)
}

// present reports whether there is a program. It was whole when it got its name.
func present(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}

// removeOutdated removes what no mab has unpacked lately. What cannot be removed, such as a program that runs, is left for another time.
func removeOutdated(dir, but string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && entry.IsDir() && entry.Name() != but && time.Since(info.ModTime()) > outdated {
			_ = os.RemoveAll(filepath.Join(dir, entry.Name()))
		}
	}
}

func (p parcel) write(path, digest string) error {
	in, err := zstd.NewReader(strings.NewReader(string(p[sha256.Size:])), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return &damagedError{err}
	}
	defer in.Close()
	var program bytes.Buffer
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(&program, hash), in); err != nil {
		return &damagedError{err}
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != digest {
		return &damagedError{fmt.Errorf("it unpacks to sha256 %s, not %s", got, digest)}
	}
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return &placeError{err}
	}
	_, err = f.Write(program.Bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	// The umask may have taken bits away.
	if err == nil {
		err = errors.Join(os.Chmod(temp, 0o755), os.Rename(temp, path))
	}
	if err != nil {
		return &placeError{errors.Join(err, os.Remove(temp))}
	}
	return nil
}

// placeError is a cache directory where the reader cannot be put.
type placeError struct{ err error }

func (e *placeError) Error() string {
	return "unpacking the program that reads bake files: " + e.err.Error()
}

// Unwrap gives the cause.
func (e *placeError) Unwrap() error { return e.err }

// Hint says where else it can go.
func (*placeError) Hint() string {
	return "choose a cache directory that can be written and has 50 MB free: XDG_CACHE_HOME=DIR"
}

// damagedError is a program whose own copy of the reader is not what was put into it.
type damagedError struct{ err error }

func (e *damagedError) Error() string {
	return "unpacking the program that reads bake files: " + e.err.Error()
}

// Unwrap gives the cause.
func (e *damagedError) Unwrap() error { return e.err }

// Hint says how to get a whole one.
func (*damagedError) Hint() string {
	return "this mab is damaged: download it again and compare it with sha256sums"
}
