// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	buildx "github.com/docker/buildx/bake"
	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/bake/flat"
	main "github.com/mab-build/mab/bake/module"
)

// rich is a definition that uses most of what there is.
var rich = read("../testdata/rich.hcl")

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// host is the platform of this machine, as mab tells it.
const host = "linux/amd64"

// files puts files into a new directory, which becomes the current one. The environment has nothing of buildx.
func files(t *testing.T, list map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range list {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for _, name := range []string{"BUILDX_BAKE_FILE", "BUILDX_BAKE_PATH_SEPARATOR", "BUILDX_BAKE_FILE_RELATIVE_PATHS", "SOURCE_DATE_EPOCH"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPrint compares what is printed with what docker buildx bake --print makes of it: its library's targets, after it has turned them into
// options of a build, which changes some.
func TestPrint(t *testing.T) {
	compose := `services:
  web:
    image: example.com/web
    build:
      context: ./app
      args: {A: "1"}
      additional_contexts: {other: ./base}
  my.db:
    build: ./base
    image: example.com/db
`
	all := map[string]string{
		"docker-bake.hcl": rich, "docker-bake.override.hcl": "target \"app\" {\n  tags = [\"overridden\"]\n}\n", "docker-bake.json": `{"target": {"more": {"context": "base"}}}`,
		"compose.yaml": compose,
	}
	for _, test := range []struct {
		rule  string
		files map[string]string
		query flat.Query
		env   string
	}{
		{"the group default", map[string]string{"docker-bake.hcl": rich}, flat.Query{}, ""},
		{"a target by name", map[string]string{"docker-bake.hcl": rich}, flat.Query{Targets: []string{"base"}}, ""},
		{"a pattern", map[string]string{"docker-bake.hcl": rich}, flat.Query{Targets: []string{"tools-*"}}, ""},
		{"overrides", map[string]string{"docker-bake.hcl": rich}, flat.Query{Sets: []string{"app.args.VERSION=2", "*.platform=linux/s390x", "tools-*.tags+=x", "app.output=out"}}, ""},
		{"a variable of the environment", map[string]string{"docker-bake.hcl": rich}, flat.Query{}, "TAG=from-env"},
		{"a variable of the command line wins", map[string]string{"docker-bake.hcl": rich}, flat.Query{Vars: []string{"TAG=given"}}, "TAG=from-env"},
		{"the time of the environment", map[string]string{"docker-bake.hcl": rich}, flat.Query{}, "SOURCE_DATE_EPOCH=12"},
		{"push, attestations, caches", map[string]string{"docker-bake.hcl": rich}, flat.Query{Push: true, NoCache: ptr(true), Pull: ptr(false), Provenance: "mode=max", SBOM: "true"}, ""},
		{"load", map[string]string{"docker-bake.hcl": rich}, flat.Query{Load: true}, ""},
		{"compose", map[string]string{"docker-compose.yml": compose}, flat.Query{}, ""},
		{"a service whose name has a dot", map[string]string{"compose.yaml": compose}, flat.Query{Targets: []string{"my.db"}}, ""},
		{"all together", all, flat.Query{Targets: []string{"all", "more", "web"}}, ""},
		{"paths relative to the file", map[string]string{"sub/x.hcl": rich}, flat.Query{Files: []string{"sub/x.hcl"}}, "BUILDX_BAKE_FILE_RELATIVE_PATHS=1"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			files(t, test.files)
			if name, value, ok := strings.Cut(test.env, "="); ok {
				t.Setenv(name, value)
			}
			got, err := main.Print(t.Context(), flat.Question{Query: test.query, Host: host})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(byBuildx(t, test.query, test.env), got); diff != "" {
				t.Errorf("(-buildx +mab):\n%s", diff)
			}
		})
	}
}

func ptr(b bool) *bool { return &b }

// byBuildx is what buildx's own command does of a query: https://github.com/docker/buildx/blob/v0.36.0/commands/bake.go
func byBuildx(t *testing.T, q flat.Query, env string) string {
	t.Helper()
	list, err := buildx.ReadLocalFiles(q.Files, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	overrides := slices.Clone(q.Sets)
	if q.Push {
		overrides = append(overrides, "*.push=true")
	}
	if q.Load {
		overrides = append(overrides, "*.load=true")
	}
	if q.NoCache != nil {
		overrides = append(overrides, "*.no-cache=true")
	}
	if q.Pull != nil {
		overrides = append(overrides, "*.pull=false")
	}
	if q.SBOM != "" {
		overrides = append(overrides, "*.attest=type=sbom,disabled=false", "*.attest=type=provenance,mode=max")
	}
	vars := map[string]string{}
	for _, v := range q.Vars {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	wanted := slices.Clone(q.Targets)
	if len(wanted) == 0 {
		wanted = []string{"default"}
	}
	defaults := map[string]string{"BAKE_CMD_CONTEXT": "cwd://", "BAKE_LOCAL_PLATFORM": host}
	targets, groups, err := buildx.ReadTargets(t.Context(), list, wanted, overrides, defaults, vars, &buildx.EntitlementConf{},
		buildx.ParseOpt{FileRelativePaths: strings.HasPrefix(env, "BUILDX_BAKE_FILE_RELATIVE_PATHS")})
	if err != nil {
		t.Fatal(err)
	}
	if value, ok := strings.CutPrefix(env, "SOURCE_DATE_EPOCH="); ok {
		for _, target := range targets {
			if target.Args == nil {
				target.Args = map[string]*string{}
			}
			target.Args["SOURCE_DATE_EPOCH"] = &value
		}
	}
	if _, err := buildx.TargetsToBuildOpt(targets, nil); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(struct {
		Group  map[string]*buildx.Group  `json:"group,omitempty"`
		Target map[string]*buildx.Target `json:"target"`
	}{groups, targets}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
