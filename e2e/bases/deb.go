// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strings"
)

// AddDeb adds to t the files of a .deb that the patterns keep. A pattern that covers no file is an error: the package
// has changed, and an image that lacks a file would be found out much later. Patterns are those of path.Match, or a directory
// and /** for all below it; names are those of a Tree.
func (t Tree) AddDeb(ctx context.Context, deb string, keep []string) error {
	return unpack(ctx, deb, func(in *tar.Reader) error { return t.addTar(in, keep) })
}

// unpack calls read with the files of a .deb.
func unpack(ctx context.Context, deb string, read func(*tar.Reader) error) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := read(tar.NewReader(stdout))
	// dpkg-deb must be able to write to the end, or it is killed by SIGPIPE.
	_, drainErr := io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("unpacking %q: %w: %s", deb, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := errors.Join(readErr, drainErr); err != nil {
		return fmt.Errorf("unpacking %q: %w", deb, err)
	}
	return nil
}

// Dependencies returns the names of the packages that a .deb depends on, of alternatives the first.
func Dependencies(ctx context.Context, deb string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "dpkg-deb", "--field", deb, "Depends").Output()
	if err != nil {
		return nil, fmt.Errorf("reading the dependencies of %q: %w", deb, orNoApt(err))
	}
	var names []string
	for dependency := range strings.SplitSeq(string(out), ",") {
		if fields := strings.Fields(dependency); len(fields) > 0 {
			names = append(names, fields[0])
		}
	}
	return names, nil
}

func (t Tree) addTar(in *tar.Reader, keep []string) error {
	used := make(map[string]bool)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := canonical(header.Name)
		for _, pattern := range keep {
			if header.Typeflag == tar.TypeDir || !matches([]string{pattern}, name) {
				continue
			}
			used[pattern] = true
			if err := t.addEntry(in, header); err != nil {
				return err
			}
			break
		}
	}
	for _, pattern := range keep {
		if !used[pattern] {
			return fmt.Errorf("no file %q", pattern)
		}
	}
	return nil
}

// addEntry adds the entry that in stands at.
func (t Tree) addEntry(in *tar.Reader, header *tar.Header) error {
	name := canonical(header.Name)
	switch header.Typeflag {
	case tar.TypeReg:
		content, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		t[name] = data(content, header.Mode)
	case tar.TypeSymlink:
		// Packages link names to each other, such as /usr/bin/runc to /usr/sbin/runc, which are one in a Tree.
		if link := relative(header.Name, header.Linkname); link != path.Base(name) {
			t[name] = symlink(link)
		}
	case tar.TypeLink:
		target, ok := t[canonical(header.Linkname)]
		if !ok {
			return fmt.Errorf("%q is a hard link to %q, which is not kept", name, header.Linkname)
		}
		t[name] = target
	default:
		return fmt.Errorf("%q is of kind %q", name, header.Typeflag)
	}
	return nil
}

// appletsStart begins busybox's table of applets: the names in ASCII order, each ended by a NUL, ended by an empty one
// (applet_names in the generated include/applet_tables.h).
var appletsStart = []byte("[\x00[[\x00")

// applets returns the names of the applets of a busybox program, read from its table.
func applets(program []byte) ([]string, error) {
	i := bytes.Index(program, appletsStart)
	if i < 0 {
		return nil, errors.New("no table of applets in busybox")
	}
	var names []string
	for _, name := range bytes.SplitN(program[i:], []byte{0}, 1000) {
		if len(name) == 0 {
			return names, nil
		}
		names = append(names, string(name))
	}
	return nil, errors.New("busybox's table of applets has no end")
}
