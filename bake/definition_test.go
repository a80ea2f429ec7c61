// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	_ "embed" // rich
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/bake"
)

// rich is a definition that uses most of what there is.
//
//go:embed testdata/rich.hcl
var rich string

func richFiles(t *testing.T) {
	t.Helper()
	files(t, map[string]string{
		"docker-bake.hcl": rich, "app/Dockerfile": "FROM under\n", "app/Dockerfile.a": "FROM scratch\n", "app/Dockerfile.b": "FROM scratch\n",
		"base/Dockerfile": "FROM scratch\n",
	})
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
	d, err := new(bake.Reader).Read(t.Context(), bake.Query{Vars: []string{"TAG=1"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []bake.Listed{
		{Name: "all", Description: "base, default", Group: true}, {Name: "app"}, {Name: "base", Description: "under the app"},
		{Name: "default", Description: "what is released (app, tools)", Group: true}, {Name: "tools", Description: "tools-a, tools-b", Group: true},
		{Name: "tools-a"}, {Name: "tools-b"},
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
