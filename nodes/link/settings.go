// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxIncludes is how deep files may include others, as in readconf.c of OpenSSH.
const maxIncludes = 16

// settings are the values that the user's files give to one host: the first of each keyword, and all of those that add up.
type settings map[string][][]string

// first returns the arguments of a keyword; nil where no file has it.
func (s settings) first(keyword string) []string {
	if values := s[keyword]; len(values) > 0 {
		return values[0]
	}
	return nil
}

// value returns the only argument of a keyword; empty where no file has it.
func (s settings) value(keyword string) string {
	if args := s.first(keyword); len(args) > 0 {
		return args[0]
	}
	return ""
}

// flag returns the argument of a keyword in lower case.
func (s settings) flag(keyword string) string { return strings.ToLower(s.value(keyword)) }

// put adds a value as OpenSSH would: only a few keywords take a second one.
func (s settings) put(d directive) {
	args := d.args
	switch d.keyword {
	case "identityfile", "certificatefile":
		s[d.keyword] = append(s[d.keyword], args)
		return
	case "proxycommand":
		args = []string{d.rest}
		if s["proxyjump"] != nil {
			return
		}
	case "proxyjump":
		if s["proxycommand"] != nil {
			return
		}
	}
	if s[d.keyword] == nil {
		s[d.keyword] = [][]string{args}
	}
}

// reader reads ssh_config files for one host.
type reader struct {
	// home is where ~ and relative Includes of the user's files lead, host what the user typed.
	home, host string
	// user is the one asked for, or empty; localUser runs this program.
	user, localUser string
	note            func(text string)
	found           settings
	// final is whether this is the second reading, for Match final.
	final, wantFinal bool
	noted            map[string]bool
}

// read returns the settings of r.host by files, the first of which wins. A file that does not exist is one without lines.
func (r *reader) read(files []string) (settings, error) {
	r.found, r.noted = settings{}, map[string]bool{}
	for {
		for _, file := range files {
			if err := r.file(file, true, 0); err != nil {
				return nil, &ConfigError{Err: err}
			}
		}
		if r.final || !r.wantFinal {
			return r.found, nil
		}
		r.final = true
	}
}

// load returns the lines of a file; none if it does not exist. Included files may also be unreadable, as for OpenSSH.
func load(path string, depth int) ([]directive, error) {
	if depth > maxIncludes {
		return nil, fmt.Errorf("reading %q: more than %d files include each other", path, maxIncludes)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || (err != nil && depth > 0) {
		return nil, nil
	}
	var list []directive
	if err == nil {
		list, err = directives(string(text))
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	return list, nil
}

// file takes the settings of a file. Active is whether the place that includes it is for this host.
func (r *reader) file(path string, active bool, depth int) error {
	list, err := load(path, depth)
	if err != nil {
		return err
	}
	outer := active
	for _, d := range list {
		switch d.keyword {
		case "host":
			active = outer && anyOf(d.args, r.host)
		case "match":
			matches, err := r.match(path, d)
			if err != nil {
				return fmt.Errorf("reading %q: line %d: %w", path, d.line, err)
			}
			active = outer && matches
		case "include":
			if err := r.include(path, d, active, depth); err != nil {
				return err
			}
		default:
			if active && len(d.args) == 0 {
				return fmt.Errorf("reading %q: line %d: %s has no value", path, d.line, d.keyword)
			}
			if active {
				r.found.put(d)
			}
		}
	}
	return nil
}

func (r *reader) include(from string, d directive, active bool, depth int) error {
	for _, pattern := range d.args {
		switch {
		case strings.HasPrefix(pattern, "~/"):
			pattern = filepath.Join(r.home, pattern[2:])
		case filepath.IsAbs(pattern):
		case strings.HasPrefix(filepath.ToSlash(from), "/etc/ssh/"):
			pattern = filepath.Join("/etc/ssh", pattern)
		default:
			pattern = filepath.Join(r.home, ".ssh", pattern)
		}
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("reading %q: line %d: %w", from, d.line, err)
		}
		for _, path := range paths {
			if err := r.file(path, active, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// match reports whether the criteria of a Match line all hold. Those that need a program or a canonical name hold never.
func (r *reader) match(path string, d directive) (bool, error) {
	if len(d.args) == 0 {
		return false, errors.New("match has no criteria")
	}
	all := true
	for args := d.args; len(args) > 0; {
		criterion, value, inline := strings.Cut(args[0], "=")
		criterion, negated := strings.CutPrefix(strings.ToLower(criterion), "!")
		args = args[1:]
		switch criterion {
		case "all":
		case "canonical":
			all = all && negated
		case "final":
			r.wantFinal = true
			all = all && r.final != negated
		default:
			if !inline && len(args) == 0 {
				return false, fmt.Errorf("match %s has no value", criterion)
			}
			if !inline {
				value, args = args[0], args[1:]
			}
			holds, known := r.criterion(criterion, strings.Split(value, ","))
			if !known {
				r.pass(fmt.Sprintf("%s:%d: passing over Match %s, which mab does not evaluate", path, d.line, criterion))
				negated = false
			}
			all = all && holds != negated
		}
	}
	return all, nil
}

func (r *reader) criterion(name string, patterns []string) (holds, known bool) {
	switch name {
	case "originalhost":
		return anyOf(patterns, r.host), true
	case "host":
		// The name as far as the lines above made it one.
		host := r.host
		if to := r.found.value("hostname"); to != "" {
			host = strings.ReplaceAll(strings.ReplaceAll(to, "%h", host), "%%", "%")
		}
		return anyOf(patterns, host), true
	case "user":
		user := r.user
		if user == "" {
			user = r.found.value("user")
		}
		if user == "" {
			user = r.localUser
		}
		return anyOf(patterns, user), true
	case "localuser":
		return anyOf(patterns, r.localUser), true
	}
	return false, false
}

// pass tells the user once what is passed over.
func (r *reader) pass(text string) {
	if !r.noted[text] {
		r.noted[text] = true
		r.note(text)
	}
}
