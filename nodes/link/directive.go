// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"strings"
)

// directive is a line of an ssh_config file: a keyword in lower case, its arguments, and what follows the keyword as it stands there.
type directive struct {
	line    int
	keyword string
	args    []string
	rest    string
}

// directives splits the text of a file as readconf.c of OpenSSH does. It does not know what the keywords mean.
func directives(text string) ([]directive, error) {
	var list []directive
	for i, line := range strings.Split(text, "\n") {
		line = strings.Trim(line, " \t\r\f\v")
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.IndexAny(line, " \t\r=\"")
		if end < 0 {
			end = len(line)
		}
		keyword, rest := strings.ToLower(line[:end]), strings.TrimLeft(line[end:], " \t\r")
		if after, ok := strings.CutPrefix(rest, "="); ok {
			rest = strings.TrimLeft(after, " \t\r")
		}
		args, err := words(rest)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		list = append(list, directive{line: i + 1, keyword: keyword, args: args, rest: rest})
	}
	return list, nil
}

// blanks are what stands between arguments.
const blanks = " \t\r"

// words splits arguments as argv_split of OpenSSH does: quotes of both kinds group, a backslash takes away the meaning
// of quotes, spaces and backslashes, and # begins a comment.
func words(text string) ([]string, error) {
	var list []string
	for {
		text = strings.TrimLeft(text, blanks)
		if text == "" || text[0] == '#' {
			return list, nil
		}
		word, rest, err := firstWord(text)
		if err != nil {
			return nil, err
		}
		list, text = append(list, word), rest
	}
}

func firstWord(text string) (word, rest string, err error) {
	var out strings.Builder
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && escapable(text[i+1], quote):
			i++
			out.WriteByte(text[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && strings.IndexByte(blanks, c) >= 0:
			return out.String(), text[i:], nil
		default:
			out.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", fmt.Errorf("a quotation mark is missing in %q", text)
	}
	return out.String(), "", nil
}

func escapable(c, quote byte) bool {
	return c == '"' || c == '\'' || c == '\\' || (c == ' ' && quote == 0)
}

// wildcard reports whether name matches a pattern in which * stands for any text and ? for one character.
func wildcard(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// anyOf reports whether name matches one of the patterns and none of those that begin with an exclamation mark.
func anyOf(patterns []string, name string) bool {
	found := false
	for _, pattern := range patterns {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !wildcard(pattern, name) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}
