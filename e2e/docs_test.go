// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mostUntested is how many blocks of all pages may be marked notest.
const mostUntested = 10

// TestDocs holds the pages to what the program does. In README.md and docs/*.md
//
//   - a block marked console is run: the lines that begin with $, one after the other, page by page, in a shell in an empty directory that has
//     the project's examples in it. A command must end well, or fail if its output is shown with a line "mab: error:". The lines that
//     are shown must be printed in their order; see missing for what may differ. Addresses of example registries (see stand) and the
//     directories of root's solver stand for those of the test, and FROM busybox or alpine for its base image;
//   - a block with file=NAME after the language is written to that file, for the commands after it;
//   - a block marked sh must be a script, and the command lines of mab in it must be understood; so must those in other blocks;
//   - console notest REASON is only looked at as sh is, sh notest REASON not at all.
func TestDocs(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	generated, err := filepath.Glob("../docs/reference/*.md")
	if err != nil || len(pages) == 0 || len(generated) == 0 {
		t.Fatalf("error %v, pages %q, generated %q", err, pages, generated)
	}
	untested := 0
	for _, page := range slices.Concat([]string{"../README.md"}, pages, generated) {
		t.Run(strings.TrimPrefix(page, "../"), func(t *testing.T) {
			blocks := blocksOf(read(t, page))
			for i := range blocks {
				b := &blocks[i]
				b.check(t)
				if b.untested {
					untested++
				}
			}
			runConsoles(t, blocks)
		})
	}
	if untested > mostUntested {
		t.Errorf("%d blocks are marked notest, at most %d may be", untested, mostUntested)
	}
}

// check looks at what a block says without running it.
func (b *block) check(t *testing.T) {
	t.Helper()
	if b.untested && !strings.Contains(b.reason, " ") {
		t.Errorf("line %d: notest without a reason", b.line)
	}
	switch b.language {
	case "console":
		sessions := sessionsOf(b)
		if len(sessions) == 0 {
			t.Errorf("line %d: a console without a command: commands begin with $", b.line)
		}
		for _, s := range sessions {
			checkScript(t, s.line, s.command)
			checkUses(t, s.line, s.command)
		}
	case "sh", "bash", "shell":
		if !b.untested {
			checkScript(t, b.line, b.text())
			checkUses(t, b.line, b.text())
		}
	default:
		for i, line := range b.lines {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "$ ") {
				t.Errorf("line %d: a command in a block that is not marked console", b.line+i)
			}
			if strings.HasPrefix(line, "mab ") || strings.HasPrefix(line, "sudo mab ") {
				checkUses(t, b.line+i, line)
			}
		}
	}
}

func checkScript(t *testing.T, line int, script string) {
	t.Helper()
	sh := exec.CommandContext(t.Context(), "bash", "-n")
	sh.Stdin = strings.NewReader(script)
	if out, err := sh.CombinedOutput(); err != nil {
		t.Errorf("line %d: no script: %v: %s", line, err, out)
	}
}

// assignment is a variable that is set for one command.
var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// checkUses has mab understand each of its command lines in a script.
func checkUses(t *testing.T, line int, script string) {
	t.Helper()
	for _, words := range commandsOf(script) {
		for len(words) > 0 && (assignment.MatchString(words[0]) || slices.Contains([]string{"sudo", "env", "time", "exec", "nohup"}, words[0])) {
			words = words[1:]
		}
		if len(words) == 0 || filepath.Base(words[0]) != "mab" {
			continue
		}
		var args []string
		for _, w := range words[1:] {
			// What may be there or not, and what was left out.
			if !strings.HasPrefix(w, "[") && !strings.HasSuffix(w, "]") && strings.Trim(w, "….") != "" || w == "." {
				args = append(args, w)
			}
		}
		if why := misunderstood(t, args); why != "" {
			t.Errorf("line %d: mab %s: %s", line, strings.Join(args, " "), why)
		}
	}
}

// misunderstood tells what is wrong with a command line of mab, which is not run; empty if nothing is. Flags are read before help is
// printed, and help tells which command was found.
func misunderstood(t *testing.T, args []string) string {
	t.Helper()
	help := exec.CommandContext(t.Context(), mabBinary, append(slices.Clone(args), "--help")...)
	var stderr bytes.Buffer
	help.Stderr = &stderr
	out, err := help.Output()
	if err != nil {
		return stderr.String()
	}
	_, usage, _ := strings.Cut(string(out), "Usage:\n  ")
	usage, _, _ = strings.Cut(usage, "\n")
	found := strings.Fields(usage)
	known := 1 // words of the usage that name the command, the program's name included
	for known < len(found) && known <= len(args) && found[known] == args[known-1] {
		known++
	}
	group := strings.Contains(string(out), "Available Commands:")
	if group && known <= len(args) && !strings.HasPrefix(args[known-1], "-") && args[0] != "help" {
		return fmt.Sprintf("there is no command %q", args[known-1])
	}
	return ""
}

// registries are the addresses that pages use for a registry: https://www.rfc-editor.org/rfc/rfc2606 and the usual one for trying out.
var registries = regexp.MustCompile(`\bregistry\.example(\.com|\.org)?\b|\blocalhost:5000\b`)

// baseImages are those of Docker Hub that the test's own stands for.
var baseImages = regexp.MustCompile(`(?m)^(\s*FROM (?:--platform=\S+ )?)(?:docker\.io/(?:library/)?)?(?:busybox|alpine)(?::[\w.-]+)?(\s|$)`)

// stand puts what the test has in the place of what a page talks of.
func (l *lab) stand(text string) string {
	addr := registry(l.t)
	text = registries.ReplaceAllLiteralString(text, addr)
	text = baseImages.ReplaceAllString(text, "${1}"+addr+"/busybox${2}")
	return strings.NewReplacer("/var/lib/mab", l.root, "/run/mab", l.root).Replace(text)
}

// runConsoles runs the consoles of a page, in one shell.
func runConsoles(t *testing.T, blocks []block) {
	runs := func(b block) bool { return b.language == "console" && !b.untested }
	if !slices.ContainsFunc(blocks, runs) {
		return
	}
	l := newLab(t)
	if err := os.CopyFS(filepath.Join(l.dir, "examples"), os.DirFS("../examples")); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	var all []session
	for i := range blocks {
		if b := &blocks[i]; b.file != "" {
			source := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(source, []byte(l.stand(b.text())), 0o644); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&script, "mkdir -p \"$(dirname '%s')\" && cp '%s' '%s'\n", b.file, source, b.file)
		} else if runs(*b) {
			for _, s := range sessionsOf(b) {
				fmt.Fprintf(&script, "{ %s\n} < /dev/null\nprintf '%s%%d\\n' $?\n", l.stand(s.command), endMark)
				all = append(all, s)
			}
		}
	}
	printed := l.shell(script.String())
	for i, s := range all {
		text, rest, ended := strings.Cut(printed, endMark)
		if !ended {
			t.Fatalf("line %d: $ %s\ndid not end; it printed\n%s", s.line, s.command, printed)
		}
		code, rest, _ := strings.Cut(rest, "\n")
		printed = rest
		for j := range s.output {
			all[i].output[j] = l.stand(s.output[j])
		}
		s.judge(t, text, code)
	}
}

// endMark is printed after each command, with its exit code.
const endMark = "\x01end of command "

// judge compares what a command did with what its page says.
func (s *session) judge(t *testing.T, printed, code string) {
	t.Helper()
	fails := slices.ContainsFunc(s.output, func(line string) bool { return strings.HasPrefix(line, "mab: error:") })
	if number, err := strconv.Atoi(code); err != nil || (number != 0) != fails {
		t.Errorf("line %d: $ %s\nended with exit code %s and printed\n%s", s.line, s.command, code, printed)
	} else if line := missing(s.output, printed); line != "" {
		t.Errorf("line %d: $ %s\ndid not print, in this place,\n%s\nbut altogether\n%s", s.line, s.command, line, printed)
	}
}

// shell runs a script in the lab's directory, with mab in its path, and returns what it prints.
func (l *lab) shell(script string) string {
	l.t.Helper()
	bin := l.t.TempDir()
	if err := os.Symlink(mabBinary, filepath.Join(bin, "mab")); err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = l.dir
	cmd.Env = append(slices.Clone(l.env), "PATH="+bin+":"+os.Getenv("PATH"))
	// All that it started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		l.t.Errorf("%v\n%s", err, out.String())
	}
	return out.String()
}
