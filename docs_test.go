// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"index/suffixarray"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// verb is what fmt fills in.
var verb = regexp.MustCompile(`%[-+# 0-9.\[\]*]*[a-zA-Z]`)

// messages is everything that the program itself can print: the strings of its source, those that are put together of constants as
// one, cut where something is filled in.
func messages(t *testing.T) []byte {
	t.Helper()
	files := map[string]*ast.File{}
	constants := map[string]map[string]string{}
	sources(t, func(file string, content []byte) {
		if _, _, ok := layerOf(filepath.Dir(file)); !ok || strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, content, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[file] = parsed
		dir := filepath.Dir(file)
		if constants[dir] == nil {
			constants[dir] = map[string]string{}
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == len(spec.Values) {
				for i, name := range spec.Names {
					if text, ok := literal(spec.Values[i]); ok {
						constants[dir][name.Name] = text
					}
				}
			}
			return true
		})
	})
	var out strings.Builder
	for file, parsed := range files {
		known := constants[filepath.Dir(file)]
		ast.Inspect(parsed, func(n ast.Node) bool {
			expr, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text, whole := fold(expr, known)
			if text != "" {
				out.WriteString(verb.ReplaceAllString(text, "\x00") + "\x00")
			}
			return !whole
		})
	}
	return []byte(out.String())
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// fold returns the text of a string, or of several put together, with a zero byte for what is no constant. It reports whether
// e is such an expression.
func fold(e ast.Expr, known map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return literal(e)
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "", false
		}
		var parts [2]string
		some := false
		for i, side := range []ast.Expr{e.X, e.Y} {
			text, ok := fold(side, known)
			if name, is := side.(*ast.Ident); is {
				text, ok = known[name.Name]
			}
			if some = some || ok; !ok {
				text = "\x00"
			}
			parts[i] = text
		}
		return parts[0] + parts[1], some
	}
	return "", false
}

// stranger returns the first part of a line that no message holds; "" if the line is made of messages. An ellipsis stands for
// anything. Where one message holds another, the line may change from one to the other, but not within a word or two.
func stranger(corpus *suffixarray.Index, line string) string {
	const least = 8
	for fragment := range strings.SplitSeq(line, "…") {
		fragment = strings.Trim(fragment, " :;,")
		for rest := fragment; rest != ""; {
			n := 0
			for n < len(rest) && len(corpus.Lookup([]byte(rest[:n+1]), 1)) > 0 {
				n++
			}
			if n < len(rest) && n < least {
				return rest
			}
			rest = strings.TrimLeft(rest[n:], " :;,")
		}
	}
	return ""
}

// quoted are the lines of the indented blocks of a page that begin with a message, without what mab prints before each.
func quoted(page string) []string {
	var out []string
	for line := range strings.Lines(page) {
		text, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !ok {
			continue
		}
		text = strings.TrimPrefix(strings.TrimPrefix(text, "mab: error: "), "mab: hint: ")
		out = append(out, text)
	}
	return out
}

// foreign are the parts of messages that other programs print.
var foreign = []string{"could not be found"}

func TestTroubleshootingQuotesMessages(t *testing.T) {
	raw, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, ok := strings.Cut(string(raw), "\n## The solver does not start\n")
	if !ok {
		t.Fatal("its first chapter has another name")
	}
	corpus := suffixarray.New(messages(t))
	lines := quoted(page)
	if len(lines) < 50 {
		t.Fatalf("only %d lines were found", len(lines))
	}
	for _, line := range lines {
		for _, words := range foreign {
			line = strings.ReplaceAll(line, words, "…")
		}
		if part := stranger(corpus, line); part != "" {
			t.Errorf("no message of the program holds %q of:\n%s", part, line)
		}
	}
}

func TestStranger(t *testing.T) {
	corpus := suffixarray.New([]byte("starting the solver\x00the system allows no more user namespaces (user.max is \x00)\x00"))
	for line, want := range map[string]string{
		"starting the solver": "",
		"starting the solver: the system allows no more user namespaces (user.max is …": "",
		"… allows no more …":            "",
		"starting the server":           "erver",
		"the system allows a namespace": "a namespace",
		"anything":                      "anything",
	} {
		if got := stranger(corpus, line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// TestTroubleshootingHasTheRemedies: the words by which solver/failure.go knows failures that a user can mend are all explained.
func TestTroubleshootingHasTheRemedies(t *testing.T) {
	page, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), "solver/failure.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "remedies" {
			return true
		}
		for _, row := range spec.Values[0].(*ast.CompositeLit).Elts {
			words, _ := literal(row.(*ast.CompositeLit).Elts[0])
			rows++
			if words = strings.TrimSpace(words); !strings.Contains(string(page), words) {
				t.Errorf("%q is not explained", words)
			}
		}
		return false
	})
	if rows == 0 {
		t.Error("there is no table of remedies")
	}
}
