// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mab-build/mab/bake"
)

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	target := func(tag string) string { return "target \"default\" { tags = [\"" + tag + "\"] }\n" }
	all := map[string]string{
		"docker-bake.hcl": target("hcl"), "docker-bake.json": `{"target": {"default": {"tags": ["json"]}}}`, "a.hcl": target("a"), "b.hcl": target("b"), "Dockerfile": "",
	}
	for _, test := range []struct {
		rule  string
		query bake.Query
		env   map[string]string
		want  string
	}{
		{"the usual names: HCL after JSON", bake.Query{}, nil, "hcl"},
		{"named: the last wins", bake.Query{Files: []string{"b.hcl", "a.hcl"}}, nil, "a"},
		{"in the current directory", bake.Query{Files: []string{"cwd://a.hcl"}}, nil, "a"},
		{"standard input", bake.Query{Files: []string{"-"}, Stdin: strings.NewReader(target("stdin"))}, nil, "stdin"},
		{"JSON from standard input", bake.Query{Files: []string{"-"}, Stdin: strings.NewReader(all["docker-bake.json"])}, nil, "json"},
		{"named by the environment", bake.Query{}, map[string]string{"BUILDX_BAKE_FILE": " a.hcl:b.hcl"}, "b"},
		{"with a separator of its own", bake.Query{}, map[string]string{"BUILDX_BAKE_FILE": "b.hcl@a.hcl", "BUILDX_BAKE_PATH_SEPARATOR": "@"}, "a"},
		{"the command line wins", bake.Query{Files: []string{"a.hcl"}}, map[string]string{"BUILDX_BAKE_FILE": "b.hcl"}, "a"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			files(t, all)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			if got := strings.Join(must(t, test.query)[0].Tags, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestVariables(t *testing.T) {
	const definition = "variable \"TAG\" { default = \"default\" }\ntarget \"default\" { tags = [TAG] }\n"
	for _, test := range []struct {
		rule, env string
		vars      []string
		want      string
	}{
		{"default", "", nil, "default"},
		{"environment", "env", nil, "env"},
		{"command line", "env", []string{"TAG=a=b"}, "a=b"},
		{"the last counts", "", []string{"TAG=a", "TAG=b"}, "b"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			one(t, definition)
			if test.env != "" {
				t.Setenv("TAG", test.env)
			}
			if got := strings.Join(must(t, bake.Query{Vars: test.vars})[0].Tags, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestWrongQueries(t *testing.T) {
	for _, test := range []struct {
		rule       string
		query      bake.Query
		text, hint string
	}{
		{"a definition elsewhere", bake.Query{Targets: []string{"https://example.com/a.git"}}, "mab reads files of this machine only", "git clone https://example.com/a.git DIR"},
		{"a file elsewhere", bake.Query{Files: []string{"https://example.com/a.hcl"}}, "mab reads files of this machine only", "mab bake -f -"},
		{"no such file", bake.Query{Files: []string{"nowhere.hcl"}}, "nowhere.hcl", "relative to the current directory"},
		{"no value of a variable", bake.Query{Vars: []string{"TAG"}}, "understanding --var \"TAG\"", "NAME=VALUE"},
		{"another method", bake.Query{Call: "check"}, "calling \"check\"", "docker buildx bake --call=check"},
		{"nothing to grant", bake.Query{Allow: []string{"nonsense"}}, "understanding --allow", "fs.read=DIR"},
		{"no definition", bake.Query{}, "there is no docker-bake.hcl", "-f FILE"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			files(t, map[string]string{"x": ""})
			if test.query.Allow != nil {
				one(t, "target \"default\" {}")
			}
			_, err := choose(t, test.query)
			wantFault(t, err, test.text, test.hint)
		})
	}
	t.Run("paths of the environment", func(t *testing.T) {
		one(t, "target \"default\" {}")
		t.Setenv("BUILDX_BAKE_FILE_RELATIVE_PATHS", "nonsense")
		_, err := choose(t, bake.Query{})
		wantFault(t, err, "understanding BUILDX_BAKE_FILE_RELATIVE_PATHS=\"nonsense\"", "true or false")
	})
}
