// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Tree is a root file system with a merged /usr: nothing but links is in /bin, /sbin, /lib, /lib64 and /usr/sbin. Names
// have no leading slash. All is owned by root.
type Tree map[string]file

// file is a directory, a symbolic link or a regular file, told apart by kind as archive/tar does.
type file struct {
	kind byte
	mode int64
	link string
	size int64
	open func() (io.ReadCloser, error)
}

func data(content []byte, mode int64) file {
	return file{kind: tar.TypeReg, mode: mode, size: int64(len(content)), open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
}

func symlink(target string) file { return file{kind: tar.TypeSymlink, mode: 0o777, link: target} }

func directory(mode int64) file { return file{kind: tar.TypeDir, mode: mode} }

// merged are the directories that a merged /usr has elsewhere, each with a trailing slash.
var merged = [][2]string{
	{"bin/", "usr/bin/"}, {"sbin/", "usr/bin/"}, {"lib/", "usr/lib/"}, {"lib64/", "usr/lib64/"}, {"usr/sbin/", "usr/bin/"},
}

// canonical turns a name as packages have it (./bin/sh, /lib/x) into a name of a Tree.
func canonical(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for _, m := range merged {
		if rest, ok := strings.CutPrefix(name, m[0]); ok {
			return m[1] + rest
		}
	}
	return name
}

// relative returns the link target of the file that a package calls original, such that it leads from the file's place in a
// Tree to the target's, below any root.
func relative(original, target string) string {
	absolute := target
	if !path.IsAbs(target) {
		absolute = path.Join(path.Dir(path.Clean("/"+original)), target)
	}
	to, err := filepath.Rel("/"+path.Dir(canonical(original)), "/"+canonical(absolute))
	if err != nil {
		return target
	}
	return to
}

// NewTree returns a tree with what every image has: users, hosts, and the directories that a container expects.
func NewTree() Tree {
	return Tree{
		"bin": symlink("usr/bin"), "sbin": symlink("usr/bin"), "lib": symlink("usr/lib"), "lib64": symlink("usr/lib64"),
		"usr/sbin": symlink("bin"),
		"usr/bin":  directory(0o755), "usr/lib": directory(0o755), "usr/lib64": directory(0o755),
		"root": directory(0o700), "home": directory(0o755), "run": directory(0o755),
		"tmp": directory(0o1777), "var/tmp": directory(0o1777),
		"dev": directory(0o755), "proc": directory(0o755), "sys": directory(0o755),
		"etc/passwd":        data([]byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"), 0o644),
		"etc/group":         data([]byte("root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"), 0o644),
		"etc/hosts":         data([]byte("127.0.0.1 localhost\n::1 localhost\n"), 0o644),
		"etc/nsswitch.conf": data([]byte("passwd: files\ngroup: files\nhosts: files dns\n"), 0o644),
	}
}

// AddFile sets the file called name; mode may have the bits above the permissions as chmod(2) has them.
func (t Tree) AddFile(name string, content []byte, mode int64) { t[name] = data(content, mode) }

// AddDirectory sets an empty directory; a file's own directories need none.
func (t Tree) AddDirectory(name string, mode int64) { t[name] = directory(mode) }

// AddApplets links every applet that the busybox in t has to it, where no other file has the name.
func (t Tree) AddApplets() error {
	const busybox = "usr/bin/busybox"
	rc, err := t[busybox].open()
	if err != nil {
		return err
	}
	defer rc.Close()
	content, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	names, err := applets(content)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, taken := t["usr/bin/"+name]; !taken {
			t["usr/bin/"+name] = symlink("busybox")
		}
	}
	return nil
}

// Write writes t as a tar whose bytes depend on nothing but t's content: sorted, owned by root, dated 1970.
func (t Tree) Write(w io.Writer) error {
	all := maps.Clone(t)
	for name := range t {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = directory(0o755)
			}
		}
	}
	out := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := writeFile(out, name, all[name]); err != nil {
			return err
		}
	}
	return out.Close()
}

// Extract writes t into a new directory, as files of the caller's.
func (t Tree) Extract(dir string) error {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if err := t[name].extract(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}

func (f file) extract(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	switch f.kind {
	case tar.TypeSymlink:
		return os.Symlink(f.link, name)
	case tar.TypeDir:
		// Another entry's name may have made it.
		if err := os.MkdirAll(name, 0o755); err != nil {
			return err
		}
	default:
		if err := f.extractData(name); err != nil {
			return err
		}
	}
	// Not left to the call that makes it: the umask takes bits away.
	return os.Chmod(name, (&tar.Header{Mode: f.mode}).FileInfo().Mode())
}

func (f file) extractData(name string) error {
	from, err := f.open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

func writeFile(out *tar.Writer, name string, f file) error {
	header := &tar.Header{Typeflag: f.kind, Name: name, Linkname: f.link, Size: f.size, Mode: f.mode, ModTime: time.Unix(0, 0)}
	if f.kind == tar.TypeDir {
		header.Name += "/"
	}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	if f.kind != tar.TypeReg {
		return nil
	}
	rc, err := f.open()
	if err != nil {
		return err
	}
	defer rc.Close()
	_, err = io.Copy(out, rc)
	return err
}
