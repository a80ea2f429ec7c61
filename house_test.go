// SPDX-License-Identifier: Apache-2.0

// Package house_test holds the rules of the house that a linter does not know: who imports whom, what every file begins
// with, how packages are named, and what may be a package variable.
package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mab-build/mab"

// layers are the rooms of docs/architecture.md, bottom to top. What is below a room's directory belongs to the room.
var layers = [][]string{
	{"platforms", "sandbox", "runc"},
	{"emulation", "crossbuild", "manifestlist"},
	{"nodes", "solver"},
	{"coordinator", "doctor"},
	{"bake"},
	{"cmd/mab"},
}

// outside are the rooms that use mab as its users do: by running it.
var outside = []string{"e2e", "examples"}

// shared are what tests of every room, and the examples, may import.
var shared = []string{"e2e/bases", "e2e/machine", "e2e/farm"}

func within(dir, room string) bool { return dir == room || strings.HasPrefix(dir, room+"/") }

// layerOf returns the number of the layer and the room that dir is in; ok is false if it is in none.
func layerOf(dir string) (layer int, room string, ok bool) {
	for i, rooms := range layers {
		for _, room := range rooms {
			if within(dir, room) {
				return i, room, true
			}
		}
	}
	return 0, "", false
}

// forbidden tells why the package in from may not import the one in to; empty if it may.
func forbidden(from, to string, inTest bool) string {
	isOutside := slices.ContainsFunc(outside, func(room string) bool { return within(from, room) })
	fromLayer, fromRoom, fromOK := layerOf(from)
	toLayer, toRoom, toOK := layerOf(to)
	switch {
	case slices.Contains(shared, to) && (isOutside || inTest), from == to:
		return ""
	case isOutside:
		return "it runs mab and imports none of it"
	case !fromOK:
		return "it is in no room"
	case !toOK:
		return to + " is in no room"
	case fromRoom == toRoom:
		return ""
	case fromRoom == "sandbox", fromRoom == "runc":
		return fromRoom + " imports nothing of ours"
	case fromLayer == toLayer:
		return "that is sideways"
	case fromLayer < toLayer:
		return "that is up"
	}
	return ""
}

func TestForbidden(t *testing.T) {
	for _, test := range []struct {
		rule, from, to string
		inTest         bool
		want           string
	}{
		{"down", "coordinator", "platforms", false, ""},
		{"within a room", "solver", "solver/worker", false, ""},
		{"up", "platforms", "solver", false, "that is up"},
		{"sideways", "nodes", "solver", false, "that is sideways"},
		{"sideways in a test", "solver", "nodes", true, "that is sideways"},
		{"sandbox", "sandbox", "sandbox/init", false, ""},
		{"sandbox is alone", "sandbox", "platforms", false, "sandbox imports nothing of ours"},
		{"runc is alone", "runc", "platforms", false, "runc imports nothing of ours"},
		{"e2e stays outside", "e2e", "coordinator", true, "it runs mab and imports none of it"},
		{"examples use base images", "examples/demo", "e2e/bases", false, ""},
		{"tests use base images", "solver", "e2e/bases", true, ""},
		{"tests use machines", "nodes", "e2e/machine", true, ""},
		{"code does not use base images", "solver", "e2e/bases", false, "e2e/bases is in no room"},
		{"a new package needs a room", "report", "platforms", false, "it is in no room"},
		{"a name that only begins like a room's", "solvers", "platforms", false, "it is in no room"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := forbidden(test.from, test.to, test.inTest); got != test.want {
				t.Errorf("%s imports %s: got %q, want %q", test.from, test.to, got, test.want)
			}
		})
	}
}

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath, Name, Doc              string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
}

func (p goPackage) dir() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Doc,GoFiles,Imports,TestImports,XTestImports", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	var list []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.dir() != "" {
			list = append(list, p)
		}
	}
	if len(list) < len(layers) {
		t.Fatalf("only %d packages", len(list))
	}
	return list
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		_, _, inRoom := layerOf(p.dir())
		if !inRoom && !slices.ContainsFunc(outside, func(room string) bool { return within(p.dir(), room) }) {
			t.Errorf("%s is in no room: name it in docs/architecture.md and here", p.dir())
			continue
		}
		check := func(imports []string, inTest bool) {
			for _, to := range imports {
				dir, ours := strings.CutPrefix(to, module+"/")
				if !ours {
					continue
				}
				if why := forbidden(p.dir(), dir, inTest); why != "" {
					t.Errorf("%s imports %s: %s", p.dir(), dir, why)
				}
			}
		}
		check(p.Imports, false)
		check(slices.Concat(p.TestImports, p.XTestImports), true)
	}
}

// TestModules: what only reads bake files, or describes releases, is no part of mab's own module, of which every start of mab would have it.
func TestModules(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"github.com/docker/buildx", "github.com/compose-spec/compose-go/v2", "github.com/open-policy-agent/opa", "github.com/CycloneDX/cyclonedx-go"} {
		if strings.Contains(string(text), path+" ") {
			t.Errorf("go.mod needs %s", path)
		}
	}
	if !strings.Contains(string(text), "github.com/moby/buildkit ") {
		t.Error("go.mod has another form: it does not need BuildKit")
	}
}

func TestPackages(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range []string{p.Name, path.Base(p.ImportPath)} {
			if slices.Contains([]string{"util", "utils", "common", "types", "pkg", "helpers", "internal"}, name) {
				t.Errorf("%s: %q does not say what a package is for", p.dir(), name)
			}
		}
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = strings.ToUpper(path.Base(p.ImportPath)[:1]) + path.Base(p.ImportPath)[1:] + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: its comment begins %q, not %q", p.dir(), p.Doc, want)
		}
	}
}

// sources calls check with every Go file of the project.
func sources(t *testing.T, check func(file string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || (strings.HasPrefix(entry.Name(), ".") && file != ".")):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(file) != ".go":
			return nil
		}
		content, err := os.ReadFile(file)
		if err == nil {
			check(file, content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLicenceLine(t *testing.T) {
	sources(t, func(file string, content []byte) {
		if !bytes.HasPrefix(content, []byte("// SPDX-License-Identifier: Apache-2.0\n\n")) {
			t.Errorf("%s: the first line is not the licence, or the second is not empty", file)
		}
	})
}

func TestPackageVariables(t *testing.T) {
	sources(t, func(file string, content []byte) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, name := range variables(t, file, content) {
			t.Errorf("%s: %s is a package variable, and no table and no error", file, name)
		}
	})
}

// variables returns the package variables of a file that are no table, no error, nothing that is only compiled once,
// no check of a type (_), and have no nolint:gochecknoglobals with a reason on their line.
func variables(t *testing.T, file string, content []byte) []string {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, content, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	excused := make(map[int]bool)
	for _, group := range parsed.Comments {
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//nolint:gochecknoglobals // ") || strings.HasPrefix(comment.Text, "//go:embed ") {
				line := files.Position(comment.Pos()).Line
				excused[line] = true
				excused[line+1] = strings.HasPrefix(comment.Text, "//go:embed ")
			}
		}
	}
	var names []string
	for _, declaration := range parsed.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.VAR {
			continue
		}
		for _, spec := range general.Specs {
			value := spec.(*ast.ValueSpec)
			for i, name := range value.Names {
				fixed := len(value.Values) == len(value.Names) && isFixed(value.Values[i])
				if name.Name != "_" && !fixed && !excused[files.Position(name.Pos()).Line] {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

// isFixed reports whether a value looks like one that never changes: a table, an error, a Must… of constants, bytes.
func isFixed(value ast.Expr) bool {
	switch value := value.(type) {
	case *ast.CompositeLit:
		return true
	case *ast.UnaryExpr:
		return isFixed(value.X)
	case *ast.CallExpr:
		switch function := value.Fun.(type) {
		case *ast.ArrayType:
			return true
		case *ast.FuncLit:
			return false
		default:
			name := fmt.Sprint(function)
			if selector, ok := function.(*ast.SelectorExpr); ok {
				name = selector.Sel.Name
				if from := fmt.Sprint(selector.X); from == "strings" || (from == "errors" && name == "New") {
					return true
				}
			}
			return strings.HasPrefix(name, "Must") || strings.HasPrefix(name, "must")
		}
	}
	return false
}

func TestVariables(t *testing.T) {
	for _, test := range []struct {
		rule, declaration string
		allowed           bool
	}{
		{"a table", "var x = []string{`a`}", true},
		{"a table in a block", "var (\n\tx = map[string]int{}\n)", true},
		{"a joined table", "var x = strings.Join([]string{`a`, b}, `,`)", true},
		{"an error", "var x = errors.New(`no`)", true},
		{"a compiled expression", "var x = regexp.MustCompile(`.`)", true},
		{"bytes", "var x = []byte(`ELF`)", true},
		{"a check of a type", "var _ io.Reader = (*T)(nil)", true},
		{"an embedded file", "//go:embed x\nvar x string", true},
		{"an excuse", "var x = `dev` //nolint:gochecknoglobals // set by the linker", true},
		{"an excuse without a reason", "var x = `dev` //nolint:gochecknoglobals", false},
		{"state", "var x int", false},
		{"a string", "var x = `a`", false},
		{"a computed value", "var x = os.Getenv(`A`)", false},
		{"a function's result", "var x = func() int { return 1 }()", false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := variables(t, "x.go", []byte("package x\n\n"+test.declaration+"\n"))
			if allowed := len(got) == 0; allowed != test.allowed {
				t.Errorf("got %q", got)
			}
		})
	}
}
