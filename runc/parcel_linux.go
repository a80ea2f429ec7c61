// SPDX-License-Identifier: Apache-2.0

package runc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// parcel is a runc that this program carries. The zero value is none.
type parcel struct {
	program string // compressed by zstd
	label   string // a label, as JSON
}

// label tells what is in a parcel, so that it need not be run to be known. Command carry writes it.
type label struct {
	Version string `json:"version"`
	Seccomp string `json:"seccomp"`
	SHA256  string `json:"sha256"` // of the program as unpacked, in hexadecimal
}

// unpack returns the program in dir, under its digest. What is there and whole is used; else the program is put there, and
// everything else in dir is removed: no two programs with different parcels use the same directory at once.
func (p parcel) unpack(ctx context.Context, dir string) (Runc, error) {
	var about label
	if err := json.Unmarshal([]byte(p.label), &about); err != nil {
		return Runc{}, &damagedError{fmt.Errorf("reading its label: %w", err)}
	}
	if dir == "" {
		return Runc{}, errors.New("unpacking runc: no directory given")
	}
	path, err := filepath.Abs(filepath.Join(dir, about.SHA256, "runc"))
	if err != nil {
		return Runc{}, fmt.Errorf("unpacking runc: %w", err)
	}
	if !whole(path, about.SHA256) {
		if err := p.replace(ctx, path, about.SHA256); err != nil {
			return Runc{}, err
		}
	}
	// The kernel refuses X_OK, to root as well, where the file system is mounted noexec (access(2)).
	if err := unix.Access(path, unix.X_OK); err != nil {
		return Runc{}, &placeError{dir: dir, err: err, noexec: isNoexec(path)}
	}
	return Runc{Path: path, Version: about.Version, Seccomp: about.Seccomp, Carried: true}, nil
}

// whole reports whether the file is the program of that digest, and may be executed.
func whole(path, digest string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Mode() != programMode {
		return false
	}
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return err == nil && hex.EncodeToString(hash.Sum(nil)) == digest
}

// programMode is that of a regular file which all may execute.
const programMode fs.FileMode = 0o755

// replace puts the program at path. Of several that do so at once the first does it, and the others find it done.
func (p parcel) replace(ctx context.Context, path, digest string) error {
	dir := filepath.Dir(filepath.Dir(path))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &placeError{dir: dir, err: err}
	}
	lock := flock.New(filepath.Join(dir, lockName))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return &placeError{dir: dir, err: err}
	}
	defer lock.Unlock()
	if whole(path, digest) {
		return nil
	}
	if err := removeOthers(dir); err != nil {
		return &placeError{dir: dir, err: err}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return &placeError{dir: dir, err: err}
	}
	return p.write(path, digest)
}

const (
	// lockName is the one name in the directory that is no digest.
	lockName = "lock"
	lockPoll = 10 * time.Millisecond
)

// removeOthers removes what an earlier version of mab, or an unpacking that was killed, left.
func removeOthers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// write makes the file under another name, so that what has the right name is always whole, also after a loss of power.
func (p parcel) write(path, digest string) (err error) {
	dir := filepath.Dir(filepath.Dir(path))
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, programMode)
	if err != nil {
		return &placeError{dir: dir, err: err}
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	unpacked, err := p.copyTo(f)
	if err == nil && unpacked != digest {
		err = &damagedError{fmt.Errorf("it unpacks to sha256 %s, not %s", unpacked, digest)}
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	// The umask may have taken bits away.
	err = errors.Join(f.Chmod(programMode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return &placeError{dir: dir, err: err}
	}
	return nil
}

// copyTo unpacks the program into f and returns the digest of what it wrote.
func (p parcel) copyTo(f *os.File) (string, error) {
	in, err := zstd.NewReader(strings.NewReader(p.program), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return "", &damagedError{err}
	}
	defer in.Close()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, hash), in); err != nil {
		var disk *fs.PathError
		if errors.As(err, &disk) {
			return "", &placeError{dir: filepath.Dir(filepath.Dir(f.Name())), err: err}
		}
		return "", &damagedError{err}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
