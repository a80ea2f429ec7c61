// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// trouble is an error that the user can mend.
type trouble struct {
	error
	mend string
}

func (t trouble) Hint() string  { return t.mend }
func (t trouble) Unwrap() error { return t.error }

// reachError is a node that cannot be used. Its Hint is that of its cause.
type reachError struct {
	node string
	err  error
}

func (e *reachError) Error() string { return fmt.Sprintf("node %q: %s", e.node, plain(e.err.Error())) }
func (e *reachError) Unwrap() error { return e.err }

// Lost tells that another node might do. It would not where it was named wrongly.
func (e *reachError) Lost() bool {
	var wrong interface{ Usage() bool }
	return !errors.As(e.err, &wrong) || !wrong.Usage()
}

// problems are what a place for mab can have, by the word that scriptBring has for it.
var problems = []struct{ word, what, mend string }{
	{"noexec", "is on a file system that is mounted noexec", "let programs run below %s: have it mounted without noexec"},
	{"readonly", "cannot be written to", "let the user write to %s"},
	{"absent", "cannot be made", "let the user make %s"},
	{"foreign", "can be written to by other users", "remove %s there, or let nobody but its user write to it"},
	{"full", "is on a file system without room", "make room there: the file system of %s needs %d MB"},
}

// explainBring says why a program could not be put into its place, by what the script and the programs that it runs wrote.
func explainBring(err error, stdout, stderr string, p program) error {
	needs := p.size>>20 + 1
	var list []string
	mend := ""
	said := tidy(stderr)
	for line := range strings.Lines(stdout) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), Mark)
		if !ok {
			continue
		}
		word, rest, _ := strings.Cut(text, " ")
		switch word {
		case "place":
			kind, dir, _ := strings.Cut(rest, " ")
			for _, known := range problems {
				if known.word != kind {
					continue
				}
				list = append(list, fmt.Sprintf("%q %s", dir, known.what))
				if mend == "" {
					mend = mendPlace(known.mend, dir, needs)
				}
			}
		case "broken":
			return explainBroken(rest, said, needs)
		case "damaged":
			return fmt.Errorf("bringing mab: it does not run there: %s", tidy(stdout, said, err.Error()))
		}
	}
	var exit *exitError
	switch {
	case errors.Is(err, errTooMuch):
		return trouble{fmt.Errorf("bringing mab: %w%s", err, after(tidy(stdout))), shellHint}
	case !errors.As(err, &exit):
		return err
	}
	if len(list) == 0 {
		return trouble{fmt.Errorf("bringing mab: the script that takes it in ended with %s%s", exit.how, after(tidy(said, stdout))), shellHint}
	}
	return trouble{errors.New("bringing mab: no directory there can hold it: " + strings.Join(list, ", ")), mend}
}

func mendPlace(mend, dir string, needs int64) string {
	if strings.Contains(mend, "%d") {
		return fmt.Sprintf(mend, dir, needs)
	}
	return fmt.Sprintf(mend, dir)
}

// explainBroken tells a full disk from a cut link. rest is the exit code and the directory.
func explainBroken(rest, said string, needs int64) error {
	_, dir, _ := strings.Cut(rest, " ")
	for _, text := range []string{"No space left on device", "Disk quota exceeded", "write error"} {
		if strings.Contains(said, text) {
			return trouble{fmt.Errorf("bringing mab: %q is on a file system without room (%s)", dir, said),
				fmt.Sprintf("make room there: it needs %d MB", needs)}
		}
	}
	return fmt.Errorf("bringing mab: the transfer broke%s", after(said))
}

// after puts what a foreign program said behind a colon.
func after(said string) string {
	if said == "" {
		return ""
	}
	return ": " + said
}

// plain is what another machine wrote, without what tells a terminal what to do.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// tidy is what a foreign program wrote, in one line, without what was meant for mab; the first of the texts that has something.
func tidy(texts ...string) string {
	const most = 300
	for _, text := range texts {
		var lines []string
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, Mark) {
				lines = append(lines, line)
			}
		}
		if out := strings.Join(lines, "; "); out != "" {
			return plain(out[:min(most, len(out))])
		}
	}
	return ""
}

// exitError is a command on a machine that did not end well: how is as in "exit code 1".
type exitError struct{ how string }

func (e *exitError) Error() string { return "it ended with " + e.how }
