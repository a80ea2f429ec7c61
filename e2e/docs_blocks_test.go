// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// block is a block of code in a page of Markdown, without what it is indented by.
type block struct {
	line     int // of its first line of code, from 1
	fenced   bool
	language string
	// file is the name that file=NAME after the language gives it; reason is what follows notest there.
	file, reason string
	untested     bool
	lines        []string
}

func (b *block) text() string { return strings.Join(b.lines, "\n") + "\n" }

// blocksOf finds the blocks of a page: those between fences, and those that are indented by four spaces after an empty line.
func blocksOf(page string) []block {
	var out []block
	var open *block
	fence, indent, before := "", "", ""
	for i, line := range strings.Split(page, "\n") {
		bare := strings.TrimLeft(line, " ")
		mark := bare[:len(bare)-len(strings.TrimLeft(bare, "`~"))]
		switch {
		case open != nil && open.fenced && len(mark) >= len(fence) && strings.HasPrefix(mark, fence) && strings.TrimSpace(bare) == mark:
			out, open = append(out, *open), nil
		case open != nil && open.fenced:
			open.lines = append(open.lines, strings.TrimPrefix(line, indent))
		case len(mark) >= 3:
			if open != nil {
				out = append(out, *open)
			}
			open = newBlock(i+2, strings.TrimSpace(bare[len(mark):]))
			fence, indent = mark, line[:len(line)-len(bare)]
		case strings.HasPrefix(line, "    ") && (open != nil || strings.TrimSpace(before) == ""):
			if open == nil {
				open = &block{line: i + 1}
			}
			open.lines = append(open.lines, line[4:])
		case open != nil && strings.TrimSpace(line) != "":
			out, open = append(out, *open), nil
		}
		before = line
	}
	if open != nil {
		out = append(out, *open)
	}
	return out
}

func newBlock(line int, info string) *block {
	b := &block{line: line, fenced: true}
	b.language, info, _ = strings.Cut(info, " ")
	first, rest, _ := strings.Cut(info, " ")
	b.untested = first == "notest"
	if b.untested {
		b.reason = strings.TrimSpace(rest)
	}
	b.file, _ = strings.CutPrefix(first, "file=")
	if b.file == first {
		b.file = ""
	}
	return b
}

// session is a command of a console with the output that the page shows.
type session struct {
	line    int
	command string
	output  []string
}

// sessionsOf reads a block of a console: lines with $ are commands, those with > after them go on, the rest is output.
func sessionsOf(b *block) []session {
	var out []session
	for i, line := range b.lines {
		last := len(out) - 1
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			out = append(out, session{line: b.line + i, command: command})
		} else if more, ok := strings.CutPrefix(line, "> "); ok && last >= 0 && len(out[last].output) == 0 {
			out[last].command += "\n" + more
		} else if last >= 0 {
			out[last].output = append(out[last].output, line)
		}
	}
	return out
}

// commandsOf splits a script into simple commands and their words, those of substitutions included, as far as that takes no more than
// quotes, separators and comments. Redirections are left out.
func commandsOf(script string) [][]string {
	s := splitter{rest: []rune(strings.ReplaceAll(script, "\\\n", " "))}
	for len(s.rest) > 0 {
		s.step()
	}
	s.endCommand()
	return s.out
}

type splitter struct {
	rest   []rune
	out    [][]string
	words  []string
	word   strings.Builder
	begun  bool // there is a word, maybe an empty one
	quoted bool // in double quotes
	outer  []bool
	skip   bool // the next word is the file of a redirection
}

func (s *splitter) step() {
	r := s.rest[0]
	next := rune(0)
	if len(s.rest) > 1 {
		next = s.rest[1]
	}
	s.rest = s.rest[1:]
	switch {
	case r == '\\' && next != 0:
		s.rest = s.rest[1:]
		s.add(next)
	case (r == '$' || (r == '<' && !s.quoted)) && next == '(':
		s.rest = s.rest[1:]
		s.outer = append(s.outer, s.quoted)
		s.quoted = false
		s.endCommand()
	case r == '"':
		s.quoted, s.begun = !s.quoted, true
	case s.quoted:
		s.add(r)
	case r == '\'':
		s.begun = true
		for len(s.rest) > 0 && s.rest[0] != '\'' {
			s.add(s.rest[0])
			s.rest = s.rest[1:]
		}
		s.rest = s.rest[min(1, len(s.rest)):]
	case r == ')' && len(s.outer) > 0:
		s.endCommand()
		s.quoted, s.outer = s.outer[len(s.outer)-1], s.outer[:len(s.outer)-1]
	case r == '#' && !s.begun:
		for len(s.rest) > 0 && s.rest[0] != '\n' {
			s.rest = s.rest[1:]
		}
	case r == ' ' || r == '\t':
		s.endWord()
	case strings.ContainsRune("\n;|&(){}", r):
		s.endCommand()
	case r == '>' || r == '<':
		if text := s.word.String(); len(text) == 1 && text[0] >= '0' && text[0] <= '9' {
			s.word.Reset()
			s.begun = false
		}
		s.endWord()
		s.skip = true
	default:
		s.add(r)
	}
}

func (s *splitter) add(r rune) {
	s.word.WriteRune(r)
	s.begun = true
}

func (s *splitter) endWord() {
	if s.begun && !s.skip {
		s.words = append(s.words, s.word.String())
	}
	if s.begun {
		s.skip = false
	}
	s.word.Reset()
	s.begun = false
}

func (s *splitter) endCommand() {
	s.endWord()
	if len(s.words) > 0 {
		s.out = append(s.out, s.words)
	}
	s.words, s.skip = nil, false
}

// varying are the parts of an output that are different each time: digests, records of the cache, sizes, times, and how much space a
// column takes for them.
var varying = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`sha256:[0-9a-f]+…?`), "<digest>"},
	{regexp.MustCompile(`\b[a-z0-9]{25}\b`), "<id>"},
	{regexp.MustCompile(`\b[0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B\b`), "<size>"},
	{regexp.MustCompile(`\b([0-9]+h)?([0-9]+m)?[0-9]+(\.[0-9]+)?(ms|s|µs)\b`), "<time>"},
	{regexp.MustCompile(`\s+`), " "},
}

func steady(line string) string {
	for _, v := range varying {
		line = v.pattern.ReplaceAllString(line, v.by)
	}
	return strings.TrimSpace(line)
}

// missing returns the first line that a page shows and a command did not print, after those before it; empty if all are there. In
// such a line … stands for anything.
func missing(shown []string, printed string) string {
	lines := strings.Split(printed, "\n")
	for _, line := range shown {
		want := steady(line)
		if strings.Trim(want, "… ") == "" {
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$")
		for len(lines) > 0 && !pattern.MatchString(steady(lines[0])) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return line
		}
		lines = lines[1:]
	}
	return ""
}

func TestBlocksOf(t *testing.T) {
	page := "text\n\n    mab a\n\n    mab b\nmore\n    no code\n```sh notest needs systemd\nx\n```\n- list\n  ```dockerfile file=a/Dockerfile\n  FROM a\n    b\n  ```\n````\n```\n````\n\n~~~\nopen"
	want := []block{
		{line: 3, lines: []string{"mab a", "mab b"}},
		{line: 9, fenced: true, language: "sh", untested: true, reason: "needs systemd", lines: []string{"x"}},
		{line: 13, fenced: true, language: "dockerfile", file: "a/Dockerfile", lines: []string{"FROM a", "  b"}},
		{line: 17, fenced: true, lines: []string{"```"}},
		{line: 21, fenced: true, lines: []string{"open"}},
	}
	if diff := cmp.Diff(want, blocksOf(page), cmp.AllowUnexported(block{})); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestSessionsOf(t *testing.T) {
	b := block{line: 5, lines: []string{"$ cat <<E", "> a", "> E", "a", "> quoted", "", "$ true"}}
	want := []session{{5, "cat <<E\na\nE", []string{"a", "> quoted", ""}}, {11, "true", nil}}
	if diff := cmp.Diff(want, sessionsOf(&b), cmp.AllowUnexported(session{})); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestCommandsOf(t *testing.T) {
	for _, test := range []struct {
		script string
		want   [][]string
	}{
		{"a b  # c; d\n  e", [][]string{{"a", "b"}, {"e"}}},
		{`a 'b c' "d e" f\ g ""`, [][]string{{"a", "b c", "d e", "f g", ""}}},
		{"a | b && c; d & e", [][]string{{"a"}, {"b"}, {"c"}, {"d"}, {"e"}}},
		{"a > b 2>/dev/null c < d", [][]string{{"a", "c"}}},
		{"a \\\n  b", [][]string{{"a", "b"}}},
		{`x="$(a -q b)" c`, [][]string{{"x="}, {"a", "-q", "b"}, {"", "c"}}},
		{"source <(a b) c", [][]string{{"source"}, {"a", "b"}, {"c"}}},
		{"a#b '#c'", [][]string{{"a#b", "#c"}}},
	} {
		if diff := cmp.Diff(test.want, commandsOf(test.script)); diff != "" {
			t.Errorf("%q: want -, got +:\n%s", test.script, diff)
		}
	}
}

func TestMissing(t *testing.T) {
	const printed = "one 1.5MB\n\nregistry/app@sha256:1234abcd\ntook 2.25s\nlast line\n"
	for _, test := range []struct {
		rule string
		show []string
		want string
	}{
		{"nothing is shown", nil, ""},
		{"everything", strings.Split(printed, "\n"), ""},
		{"other sizes, digests and times", []string{"one   300B", "registry/app@sha256:ff…", "took 10ms"}, ""},
		{"some lines", []string{"one 1.5MB", "…", "last line"}, ""},
		{"parts of lines", []string{"… line"}, ""},
		{"another line", []string{"one 1.5MB", "two"}, "two"},
		{"another order", []string{"last line", "one 1.5MB"}, "one 1.5MB"},
		{"a part without …", []string{"last"}, "last"},
		{"a line once, shown twice", []string{"last line", "last line"}, "last line"},
		{"no pattern of its own", []string{"l.st line"}, "l.st line"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := missing(test.show, printed); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
