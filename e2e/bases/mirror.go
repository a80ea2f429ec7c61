// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mirror is where the machine itself gets Debian's packages from.
type mirror struct {
	uri     string
	options []string // fields of a deb822 stanza on how it is trusted, such as "Signed-By: /usr/share/keyrings/x.gpg"
}

// stanza is the deb822 source (sources.list(5)) of a suite's main component at m.
func (m mirror) stanza(suite string) string {
	lines := append([]string{"Types: deb", "URIs: " + m.uri, "Suites: " + suite, "Components: main"}, m.options...)
	return strings.Join(lines, "\n") + "\n"
}

// noMirrorError tells that the machine's sources name no Debian mirror.
type noMirrorError struct{ codename string }

func (e *noMirrorError) Error() string {
	return fmt.Sprintf("finding a Debian mirror: apt's sources have no main component of suite %q", e.codename)
}

// Hint says what to do about it.
func (e *noMirrorError) Hint() string {
	return "base images are made on Debian, from the mirror in /etc/apt/sources.list or /etc/apt/sources.list.d"
}

// machineMirror reads the machine's sources.
func machineMirror() (mirror, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return mirror{}, err
	}
	codename := ""
	for line := range strings.Lines(string(release)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			codename = strings.Trim(value, `"'`)
		}
	}
	files := []string{"/etc/apt/sources.list"}
	for _, pattern := range []string{"*.list", "*.sources"} {
		found, err := filepath.Glob(filepath.Join("/etc/apt/sources.list.d", pattern))
		if err != nil {
			return mirror{}, err
		}
		files = append(files, found...)
	}
	var mirrors []mirror
	for _, file := range files {
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return mirror{}, err
		}
		if strings.HasSuffix(file, ".sources") {
			mirrors = append(mirrors, deb822Mirrors(string(content), codename)...)
		} else {
			mirrors = append(mirrors, oneLineMirrors(string(content), codename)...)
		}
	}
	return chooseMirror(mirrors, codename)
}

// chooseMirror prefers what looks like a mirror of Debian itself: other archives may use its names of suites.
func chooseMirror(mirrors []mirror, codename string) (mirror, error) {
	for _, m := range mirrors {
		if strings.HasSuffix(strings.TrimRight(m.uri, "/"), "/debian") {
			return m, nil
		}
	}
	if len(mirrors) == 0 {
		return mirror{}, &noMirrorError{codename}
	}
	return mirrors[0], nil
}

// oneLineMirrors reads the one-line style of sources.list(5).
func oneLineMirrors(content, codename string) []mirror {
	var mirrors []mirror
	for line := range strings.Lines(content) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		var m mirror
		rest = strings.TrimSpace(rest)
		if options, after, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(rest, "[") {
			m.options = oneLineOptions(strings.Fields(options[1:]))
			rest = after
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 || fields[1] != codename || !hasWord(fields[2:], "main") {
			continue
		}
		m.uri = fields[0]
		mirrors = append(mirrors, m)
	}
	return mirrors
}

func oneLineOptions(options []string) []string {
	var fields []string
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		switch strings.ToLower(key) {
		case "signed-by":
			fields = append(fields, "Signed-By: "+value)
		case "trusted":
			fields = append(fields, "Trusted: "+value)
		}
	}
	return fields
}

// deb822Mirrors reads the deb822 style of sources.list(5).
func deb822Mirrors(content, codename string) []mirror {
	var mirrors []mirror
	for _, fields := range stanzas(content) {
		uris := strings.Fields(fields["uris"])
		if strings.EqualFold(strings.TrimSpace(fields["enabled"]), "no") || len(uris) == 0 ||
			!hasWord(strings.Fields(fields["types"]), "deb") ||
			!hasWord(strings.Fields(fields["suites"]), codename) ||
			!hasWord(strings.Fields(fields["components"]), "main") {
			continue
		}
		m := mirror{uri: uris[0]}
		for _, name := range []string{"Signed-By", "Trusted"} {
			if value := fields[strings.ToLower(name)]; value != "" {
				m.options = append(m.options, name+":"+value)
			}
		}
		mirrors = append(mirrors, m)
	}
	return mirrors
}

// stanzas returns the fields of each paragraph by lower-case name; values keep the lines that continue them.
func stanzas(content string) []map[string]string {
	var list []map[string]string
	var fields map[string]string
	var last string
	for lines := bufio.NewScanner(strings.NewReader(content)); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), " \t\r")
		switch {
		case strings.HasPrefix(line, "#"):
		case line == "":
			fields = nil
		case line[0] == ' ' || line[0] == '\t':
			if fields != nil {
				fields[last] += "\n" + line
			}
		default:
			if fields == nil {
				fields = make(map[string]string)
				list = append(list, fields)
			}
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(name)
			fields[last] = value
		}
	}
	return list
}

func hasWord(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
