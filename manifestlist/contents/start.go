// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"cmp"
	"fmt"
	"path"
	"strings"
)

// notes are warnings of one kind for several files, in the order in which they came up.
type notes struct {
	keys   []string
	firsts []string
	counts map[string]int
}

func (n *notes) add(text, path string) {
	if n.counts == nil {
		n.counts = map[string]int{}
	}
	if n.counts[text] == 0 {
		n.keys, n.firsts = append(n.keys, text), append(n.firsts, path)
	}
	n.counts[text]++
}

func (n *notes) all() []string {
	var out []string
	for i, text := range n.keys {
		switch more := n.counts[text] - 1; {
		case n.firsts[i] == "":
			out = append(out, text)
		case more == 0:
			out = append(out, fmt.Sprintf("%s: %s", n.firsts[i], text))
		default:
			out = append(out, fmt.Sprintf("%s, and %d more: %s", n.firsts[i], more, text))
		}
	}
	return out
}

// judgeLoader tells of programs whose dynamic loader is not there: they end with "not found".
func (s *subject) judgeLoader(notes *notes, path string, f *file) {
	loader := f.program.interpreter
	if f.executable && loader != "" && s.tree.find(loader) == nil {
		notes.add(fmt.Sprintf("the image does not have their loader %s", loader), path)
	}
}

// judgeScript tells of scripts whose interpreter is not there; for env, of the program that it is to find.
func (s *subject) judgeScript(notes *notes, file string, f *file) {
	interpreter := f.program.interpreter
	if !f.executable || interpreter == "" {
		return
	}
	if s.tree.find(interpreter) == nil {
		notes.add("the image does not have their interpreter "+interpreter, file)
		return
	}
	name := f.program.argument
	if path.Base(interpreter) == "env" && name != "" && name[0] != '-' && !strings.ContainsRune(name, '=') && s.lookUp(name) == nil {
		notes.add("the image does not have their interpreter "+name, file)
	}
}

// judgeStart tells whether a container of the image can start by itself.
func (s *subject) judgeStart(notes *notes) {
	what, argv := "entrypoint", s.config.Config.Entrypoint
	if len(argv) == 0 {
		what, argv = "command", s.config.Config.Cmd
	}
	if len(argv) == 0 || argv[0] == "" {
		return
	}
	if problem := s.startProblem(s.lookUp(argv[0])); problem != "" {
		notes.add(fmt.Sprintf("the %s %q %s", what, argv[0], problem), "")
	}
}

// startProblem tells why a node cannot be run; empty if it can.
func (s *subject) startProblem(n *node) string {
	switch {
	case n == nil || (n.file == nil && n.children == nil):
		return "is not in the image"
	case n.children != nil:
		return "is a directory"
	case n.file.special:
		return "is no regular file"
	case !n.file.executable:
		return "is not executable"
	case n.file.program == nil:
		return "is neither an ELF file nor a script with #!"
	case n.file.program.script:
		return ""
	}
	if _, runs, known := s.platform.Runs(n.file.program.elf); known && (!runs || !n.file.program.runs()) {
		return "is no program of " + s.platform.String()
	}
	return ""
}

// defaultPath is where runtimes look if an image sets no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookUp finds a program as execvp does in a container: a name without a slash in PATH, others from the working directory. An
// executable file comes before one that is not.
func (s *subject) lookUp(name string) *node {
	if strings.HasPrefix(name, "/") {
		return s.tree.find(name)
	}
	if strings.Contains(name, "/") {
		return s.tree.find(cmp.Or(s.config.Config.WorkingDir, "/") + "/" + name)
	}
	search := defaultPath
	for _, variable := range s.config.Config.Env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			search = value
		}
	}
	var first *node
	for dir := range strings.SplitSeq(search, ":") {
		if !strings.HasPrefix(dir, "/") {
			dir = cmp.Or(s.config.Config.WorkingDir, "/") + "/" + dir
		}
		n := s.tree.find(dir + "/" + name)
		if n == nil || n.file == nil {
			continue
		}
		if n.file.executable {
			return n
		}
		if first == nil {
			first = n
		}
	}
	return first
}
