// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// whole returns the root file system that o's packages give with all that they depend on, and their versions. What dpkg would note of
// installed packages is there, and where apt gets more.
func (o order) whole(ctx context.Context, apt aptRoot, temp string) (Tree, []string, error) {
	debs, err := apt.downloadAll(ctx, filepath.Join(temp, "archives"), o.recipe.whole)
	if err != nil {
		return nil, nil, err
	}
	root := NewTree()
	var versions []string
	var status strings.Builder
	for _, deb := range debs {
		if err := root.addAll(ctx, deb); err != nil {
			return nil, nil, err
		}
		control, err := exec.CommandContext(ctx, "dpkg-deb", "--field", deb).Output()
		if err != nil {
			return nil, nil, fmt.Errorf("reading what %q is: %w", deb, orNoApt(err))
		}
		fmt.Fprintf(&status, "Status: install ok installed\n%s\n\n", strings.TrimSpace(string(control)))
		versions = append(versions, debVersion(deb))
	}
	for _, link := range o.recipe.links {
		root[link[0]] = symlink(link[1])
	}
	root["var/lib/dpkg/status"] = data([]byte(status.String()), 0o644)
	for _, dir := range []string{"var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg/updates", "var/lib/dpkg/info"} {
		root[dir] = directory(0o755)
	}
	root["etc/apt/sources.list.d/debian.sources"] = data([]byte(apt.from.stanza(o.port.release.suite)), 0o644)
	return root, versions, nil
}

// addAll adds all that a .deb holds.
func (t Tree) addAll(ctx context.Context, deb string) error {
	return unpack(ctx, deb, func(in *tar.Reader) error {
		for {
			header, err := in.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			name := canonical(header.Name)
			_, there := t[name]
			switch {
			case header.Typeflag != tar.TypeDir:
				err = t.addEntry(in, header)
			case !there && name != "":
				t[name] = directory(header.Mode)
			}
			if err != nil {
				return err
			}
		}
	})
}
