// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// licenceName is what modules call the files that must go along with a program.
var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents)`)

// certain is how much of a file, in percent, must be known licences' text for their names to be given.
const certain = 75

// findLicences reads the licences of modules, all of which the module in dir must need, out of the module cache.
func findLicences(ctx context.Context, dir string, modules []*module) error {
	args := []string{"list", "-m", "-json=Path,Version,Dir"}
	for _, m := range modules {
		args = append(args, m.path)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("finding the modules of %q: %w: %s", dir, err, stderr.Bytes())
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for _, m := range modules {
		var found struct{ Path, Version, Dir string }
		if err := decoder.Decode(&found); err != nil {
			return fmt.Errorf("finding module %q: %w", m.path, err)
		}
		if found.Path != m.path || found.Version != m.version || found.Dir == "" {
			return fmt.Errorf("%s@%s is in a program, but %s@%s in the module cache (%q)", m.path, m.version, found.Path, found.Version, found.Dir)
		}
		if m.licences, err = readLicences(found.Dir); err != nil {
			return fmt.Errorf("reading the licence of %q: %w", m.path, err)
		}
	}
	return nil
}

// readLicences reads the files at the top of a module.
func readLicences(dir string) ([]licence, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []licence
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !licenceName.MatchString(entry.Name()) || filepath.Ext(entry.Name()) == ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		l := licence{file: entry.Name(), text: text}
		// A grant of patents is no licence, and has no SPDX identifier.
		if !strings.HasPrefix(strings.ToUpper(l.file), "PATENTS") {
			l.ids = identify(text)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, errors.New("there is none")
	}
	return out, nil
}

// identify returns the SPDX identifiers of the licences in a text, in its order; none if much of it is something else.
func identify(text []byte) []string {
	found := licensecheck.Scan(text)
	if found.Percent < certain {
		return nil
	}
	var ids []string
	for _, match := range found.Match {
		if !match.IsURL && !slices.Contains(ids, match.ID) {
			ids = append(ids, match.ID)
		}
	}
	return ids
}

// ids returns the SPDX identifiers of all licences of a module.
func (m *module) ids() []string {
	var ids []string
	for _, l := range m.licences {
		for _, id := range l.ids {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// notice begins the file of licences. Its numbers are those of introduce.
const notice = `mab %[1]s is under the Apache License 2.0. What is in its programs, and under which licence, follows; sbom.cdx.json has the list.

All programs carry mab-bake, which reads bake files (Apache License 2.0), compressed, as a program of its own. Those for Linux carry runc %[2]s (Apache License 2.0), compressed, as a program of its own. It is linked statically with

  libseccomp %[3]s       GNU Lesser General Public License 2.1; its source is beside this file: %[4]s
                         (sha256 %[5]s)
  the GNU C Library %[6]s    GNU Lesser General Public License 2.1 or later; its source is Debian's source package glibc

You may change these libraries and link runc with them again. runc's source is the Go module github.com/opencontainers/runc v%[2]s,
and all that is needed to build it is in mab's source. With your libseccomp:

    LIBSECCOMP=changed.tar.gz runc/module/make.sh amd64 && make dist/mab-linux-amd64

and with another C library: install it for the compiler, and run the same.
`

func introduce(w io.Writer, what contents) {
	about := what.runc.label
	fmt.Fprintf(w, notice, what.version, about.Version, about.Seccomp, what.source.file, what.source.sha256, about.Libc)
}

// writeLicences writes the notice and the text of every licence; a text that several have is there once.
func writeLicences(ctx context.Context, file string, what contents) error {
	own, err := readLicences(what.root)
	if err != nil {
		return err
	}
	goRoot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("finding Go: %w", err)
	}
	std, err := readLicences(strings.TrimSpace(string(goRoot)))
	if err != nil {
		return fmt.Errorf("reading Go's licence: %w", err)
	}
	var texts []string
	owners := make(map[string][]string)
	take := func(owner string, licences ...licence) {
		for _, l := range licences {
			text := strings.TrimSpace(string(l.text))
			if owners[text] == nil {
				texts = append(texts, text)
			}
			if name := owner + " (" + l.file + ")"; !slices.Contains(owners[text], name) {
				owners[text] = append(owners[text], name)
			}
		}
	}
	take("mab", own...)
	take("Go's standard library "+what.program.goVersion, std...)
	take("libseccomp "+what.runc.label.Seccomp+" and the GNU C Library", licence{file: "LICENSE", text: what.source.licence})
	for _, m := range slices.Concat(what.program.modules, what.reader.modules, what.runc.modules) {
		take(m.path+" "+m.version, m.licences...)
	}
	var out bytes.Buffer
	introduce(&out, what)
	for _, text := range texts {
		fmt.Fprintf(&out, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 100), strings.Join(owners[text], "\n"), text)
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}
