// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	buildx "github.com/docker/buildx/bake"
	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/bake"
	"github.com/mab-build/mab/platforms"
)

// rich is a definition that uses most of what there is.
const rich = `variable "TAG" {
  default     = "dev"
  description = "the tag of all images"
}
variable "BASE" { default = null }
function "image" {
  params = [name]
  result = "example.com/${name}:${TAG}"
}
group "default" {
  targets     = ["app", "tools"]
  description = "what is released"
}
group "all" { targets = ["default", "base"] }
target "_common" {
  platforms = ["linux/arm64", "local"]
  args      = { VERSION = TAG, BASE = BASE, BRACES = "$${x}" }
  labels    = { one = "1" }
}
target "base" {
  description = "under the app"
  context     = "./base/"
}
target "app" {
  inherits = ["_common"]
  context  = "app/../app"
  tags     = [image("app")]
  contexts = { under = "target:base", files = "cwd://base" }
  cache-to = ["type=local,dest=cache"]
}
target "tools" {
  name       = "tools-${os}"
  matrix     = { os = ["b", "a"] }
  inherits   = ["_common"]
  context    = "app"
  dockerfile = "Dockerfile.${os}"
  args       = { OS = upper(os) }
}
`

func richFiles(t *testing.T) {
	t.Helper()
	files(t, map[string]string{
		"docker-bake.hcl": rich, "app/Dockerfile": "FROM under\n", "app/Dockerfile.a": "FROM scratch\n", "app/Dockerfile.b": "FROM scratch\n",
		"base/Dockerfile": "FROM scratch\n",
	})
}

// TestJSON compares what is printed with what docker buildx bake --print makes of it: its library's targets, after it has turned them into
// options of a build, which changes some.
func TestJSON(t *testing.T) {
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
		query bake.Query
		env   string
	}{
		{"the group default", map[string]string{"docker-bake.hcl": rich}, bake.Query{}, ""},
		{"a target by name", map[string]string{"docker-bake.hcl": rich}, bake.Query{Targets: []string{"base"}}, ""},
		{"a pattern", map[string]string{"docker-bake.hcl": rich}, bake.Query{Targets: []string{"tools-*"}}, ""},
		{"overrides", map[string]string{"docker-bake.hcl": rich}, bake.Query{Sets: []string{"app.args.VERSION=2", "*.platform=linux/s390x", "tools-*.tags+=x", "app.output=out"}}, ""},
		{"a variable of the environment", map[string]string{"docker-bake.hcl": rich}, bake.Query{}, "TAG=from-env"},
		{"a variable of the command line wins", map[string]string{"docker-bake.hcl": rich}, bake.Query{Vars: []string{"TAG=given"}}, "TAG=from-env"},
		{"the time of the environment", map[string]string{"docker-bake.hcl": rich}, bake.Query{}, "SOURCE_DATE_EPOCH=12"},
		{"push, attestations, caches", map[string]string{"docker-bake.hcl": rich}, bake.Query{Push: true, NoCache: ptr(true), Pull: ptr(false), Provenance: "mode=max", SBOM: "true"}, ""},
		{"load", map[string]string{"docker-bake.hcl": rich}, bake.Query{Load: true}, ""},
		{"compose", map[string]string{"docker-compose.yml": compose}, bake.Query{}, ""},
		{"a service whose name has a dot", map[string]string{"compose.yaml": compose}, bake.Query{Targets: []string{"my.db"}}, ""},
		{"all together", all, bake.Query{Targets: []string{"all", "more", "web"}}, ""},
		{"paths relative to the file", map[string]string{"sub/x.hcl": rich}, bake.Query{Files: []string{"sub/x.hcl"}}, "BUILDX_BAKE_FILE_RELATIVE_PATHS=1"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			files(t, test.files)
			if name, value, ok := strings.Cut(test.env, "="); ok {
				t.Setenv(name, value)
			}
			s, err := choose(t, test.query)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.JSON()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(byBuildx(t, test.query, test.env), string(got)); diff != "" {
				t.Errorf("(-buildx +mab):\n%s", diff)
			}
		})
	}
}

func ptr(b bool) *bool { return &b }

// byBuildx is what buildx's own command does of a query: https://github.com/docker/buildx/blob/v0.36.0/commands/bake.go
func byBuildx(t *testing.T, q bake.Query, env string) string {
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
	defaults := map[string]string{"BAKE_CMD_CONTEXT": "cwd://", "BAKE_LOCAL_PLATFORM": platforms.Host().String()}
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

func TestOrder(t *testing.T) {
	for _, test := range []struct{ rule, targets, want, linked string }{
		{"that of the group, what only others link to last", "", "app tools-b tools-a base", "base"},
		{"that of the command line", "tools-a app", "tools-a app base", "base"},
		{"each once", "app default all", "app tools-b tools-a base", ""},
		{"what is asked for is not only linked", "base app", "base app", ""},
		{"patterns: that of the files", "tools-?", "tools-b tools-a", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			richFiles(t)
			s, err := choose(t, bake.Query{Targets: strings.Fields(test.targets)})
			if err != nil {
				t.Fatal(err)
			}
			list := must(t, bake.Query{Targets: strings.Fields(test.targets)})
			if got := names(list); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			linked := map[string]bool{}
			for i := range list {
				if s.Linked(list[i].Name) {
					linked[list[i].Name] = true
				}
			}
			if got := strings.Join(slices.Sorted(maps.Keys(linked)), " "); got != test.linked {
				t.Errorf("linked are %q, want %q", got, test.linked)
			}
		})
	}
}

func TestUnknownTargets(t *testing.T) {
	for _, test := range []struct{ rule, definition, target, hint string }{
		{"a near name is offered", rich, "ap", "did you mean: mab bake app"},
		{"several near names are offered", rich, "tools-c", "did you mean: mab bake tools-a or mab bake tools-b"},
		{"else all but the private ones are listed", rich, "completely-different", "the targets: all, app, base, default, tools, tools-a, tools-b"},
		{"a pattern that matches nothing", rich, "x*", "the targets: all"},
		{"no default", "target \"app\" {}", "", "name one, or write group \"default\"; the targets: app"},
		{"no targets at all", "variable \"a\" {}", "app", "the files have no targets"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			one(t, test.definition)
			_, err := choose(t, bake.Query{Targets: strings.Fields(test.target)})
			wantFault(t, err, "choosing targets: there is no target", test.hint)
		})
	}
}

func TestList(t *testing.T) {
	richFiles(t)
	d, err := bake.Read(bake.Query{Vars: []string{"TAG=1"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []bake.Listed{
		{"all", "base, default", true}, {"app", "", false}, {"base", "under the app", false}, {"default", "what is released (app, tools)", true},
		{"tools", "tools-a, tools-b", true}, {"tools-a", "", false}, {"tools-b", "", false},
	}
	if diff := cmp.Diff(want, d.List()); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	tag := "1"
	if diff := cmp.Diff([]bake.Variable{{Name: "BASE"}, {Name: "TAG", Description: "the tag of all images", Value: &tag}}, d.Variables()); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}

func TestMisunderstood(t *testing.T) {
	for _, test := range []struct {
		rule, definition string
		sets             []string
		want             string
	}{
		{"no HCL", "target \"a\" {", nil, "docker-bake.hcl:1,12-13: Unclosed configuration block"},
		{"a target that does not exist is inherited", "target \"default\" {\n  inherits = [\"b\"]\n}", nil, "failed to find target b"},
		{"a group of what does not exist", "group \"default\" {\n  targets = [\"b\"]\n}", nil, "failed to find target b"},
		{"targets that link in a circle", "target \"default\" {\n  contexts = { b = \"target:b\" }\n}\ntarget \"b\" {\n  contexts = { a = \"target:default\" }\n}", nil, "infinite loop from"},
		{"no such key is overridden", "target \"default\" {}", []string{"default.nonsense=1"}, "unknown key: nonsense"},
		{"nothing that is overridden", "target \"default\" {}", []string{"b.context=."}, "could not find any target matching 'b'"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			one(t, test.definition)
			_, err := choose(t, bake.Query{Sets: test.sets})
			wantFault(t, err, "understanding the definition: "+test.want, "")
		})
	}
}
