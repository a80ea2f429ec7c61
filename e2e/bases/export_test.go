// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"archive/tar"
	"io"
)

// These open the pure parts to the tests.

// Canonical is canonical.
func Canonical(name string) string { return canonical(name) }

// Relative is relative.
func Relative(original, target string) string { return relative(original, target) }

// Applets is applets.
func Applets(program []byte) ([]string, error) { return applets(program) }

// Matches is matches.
func Matches(patterns []string, name string) bool { return matches(patterns, name) }

// Stanzas reads sources in the style that the file's name tells, and returns the mirror's stanza for suite.
func Stanzas(file, content, codename, suite string) (string, error) {
	read := oneLineMirrors
	if file == "x.sources" {
		read = deb822Mirrors
	}
	m, err := chooseMirror(read(content, codename), codename)
	if err != nil {
		return "", err
	}
	return m.stanza(suite), nil
}

// Repack keeps of a package's tar what the patterns cover, and writes it to w as an image's layer.
func Repack(w io.Writer, in io.Reader, keep []string) error {
	t := Tree{}
	if err := t.addTar(tar.NewReader(in), keep); err != nil {
		return err
	}
	return t.Write(w)
}
