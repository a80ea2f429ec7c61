// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk is a lab whose state is on a disk of so many MiB.
func smallDisk(t *testing.T, size int) *lab {
	t.Helper()
	l := newWatchedLab(t)
	if err := syscall.Mount("mab-e2e", l.root, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out := l.mab("serve", "--stop"); out.code != 0 {
			t.Errorf("stopping the solver: %s", out.stderr)
		}
		if err := syscall.Unmount(l.root, 0); err != nil {
			t.Error(errors.Join(err, syscall.Unmount(l.root, syscall.MNT_DETACH)))
		}
	})
	return l
}

// resize changes the disk's size to so many MiB.
func (l *lab) resize(size int) {
	l.t.Helper()
	if err := syscall.Mount("", l.root, "", syscall.MS_REMOUNT, fmt.Sprintf("size=%dm", size)); err != nil {
		l.t.Fatal(err)
	}
}

// used is how many MiB of the disk are taken.
func (l *lab) used() int {
	l.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(l.root, &s); err != nil {
		l.t.Fatal(err)
	}
	return int((s.Blocks - s.Bfree) * uint64(s.Bsize) >> 20)
}

func TestDiskFull(t *testing.T) {
	l := smallDisk(t, 32)
	busybox := registry(t) + "/busybox"
	noise := make([]byte, 40<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	b := newBadRegistry(t)
	first := "FROM " + busybox + "\nRUN echo first\n"
	tests := []struct {
		rule  string
		files map[string]string
		args  []string
	}{
		{"by a layer that is packed", map[string]string{"Dockerfile": first + "RUN dd if=/dev/urandom of=/noise bs=1M count=20\n"},
			[]string{"-t", b.host + "/app:v1", "--push"}},
		{"by a RUN", map[string]string{"Dockerfile": first + "RUN dd if=/dev/zero of=/big bs=1M count=50\n"}, nil},
		{"by the context", map[string]string{"Dockerfile": first + "COPY big /\n", "big": string(noise)}, nil},
		{"by a base image", map[string]string{"Dockerfile": "FROM " + b.base(40<<20) + "\nCOPY Dockerfile /\n"}, nil},
	}
	l.must("build", l.context(map[string]string{"Dockerfile": first}))
	builds := make([][]string, len(tests))
	for i, test := range tests {
		builds[i] = append([]string{"build", "--platform", "linux/amd64", l.context(test.files)}, test.args...)
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			// BuildKit takes a minute until it removes what failed.
			l.resize(l.used() + 32)
			wantNoSpace(t, l.start(builds[i]...).within(time.Minute))
		})
	}
	if b.has("app", "v1") {
		t.Error("a tag was written")
	}
	t.Run("not a byte is left", func(t *testing.T) {
		l := l.on(t)
		full := filepath.Join(l.root, "filler")
		fill(t, full, noise)
		wantNoSpace(t, l.start("build", l.scratch()).within(30*time.Second))
		l.must("serve", "--stop")
		wantNoSpace(t, l.start("build", l.scratch()).within(30*time.Second))
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("with more room all is well", func(t *testing.T) {
		l.resize(1024)
		for _, build := range builds {
			out := l.on(t).start(build...).within(time.Minute)
			if out.code != 0 {
				t.Errorf("exit code %d\n%s", out.code, out.stderr)
			} else if strings.Contains(out.stderr, "RUN echo first") && !cached(out.stderr, "RUN echo first") {
				t.Errorf("a finished step was run again\n%s", out.stderr)
			}
		}
	})
	l.noPanic()
}

// TestDiskFullHere has no room for the result, where the solver has.
func TestDiskFullHere(t *testing.T) {
	l, small := newLab(t), t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	dir := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN dd if=/dev/urandom of=/noise bs=1M count=2\n"})
	for _, output := range []string{"type=tar", "type=oci"} {
		t.Run(output, func(t *testing.T) {
			out := l.on(t).mab("build", "-o", output+",dest="+filepath.Join(small, "out"), dir)
			wantNoSpace(t, out)
			if !strings.Contains(out.stderr, "mab: hint: the disk that the result is written to") {
				t.Errorf("it does not say which disk\n%s", out.stderr)
			}
			if err := os.RemoveAll(filepath.Join(small, "out")); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(small); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string, content []byte) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for err == nil {
		_, err = file.Write(content)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func wantNoSpace(t *testing.T, out output) {
	t.Helper()
	if out.code != 1 || out.stdout != "" || !strings.Contains(out.stderr, "mab: error: ") {
		t.Errorf("exit code %d, stdout %q\n%s", out.code, out.stdout, out.stderr)
	}
	// In the words of the kernel, or of a program in a RUN.
	if !strings.Contains(strings.ToLower(out.stderr), "no space left on device") {
		t.Errorf("it does not say that the disk is full\n%s", out.stderr)
	}
}
