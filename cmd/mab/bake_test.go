// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/bake"
	mab "github.com/mab-build/mab/cmd/mab"
)

// TestBakeFlags has each flag of docker's set one field, and no flag without a row.
func TestBakeFlags(t *testing.T) {
	yes, no := true, false
	seen := map[string]bool{}
	for _, test := range []struct {
		args []string
		want bake.Query
	}{
		{nil, bake.Query{}},
		{[]string{"--file=a,b", "-f", "-"}, bake.Query{Files: []string{"a,b", "-"}}},
		{[]string{"--set=a.b=c,d", "--set", "e.f+=g"}, bake.Query{Sets: []string{"a.b=c,d", "e.f+=g"}}},
		{[]string{"--var=A=b,c", "--var", "D=e"}, bake.Query{Vars: []string{"A=b,c", "D=e"}}},
		{[]string{"--allow=fs.read=a,b", "--allow", "ssh"}, bake.Query{Allow: []string{"fs.read=a,b", "ssh"}}},
		{[]string{"--push"}, bake.Query{Push: true}},
		{[]string{"--load"}, bake.Query{Load: true}},
		{[]string{"--no-cache"}, bake.Query{NoCache: &yes}},
		{[]string{"--no-cache=false"}, bake.Query{NoCache: &no}},
		{[]string{"--pull"}, bake.Query{Pull: &yes}},
		{[]string{"--pull=0"}, bake.Query{Pull: &no}},
		{[]string{"--provenance", "mode=max"}, bake.Query{Provenance: "mode=max"}},
		{[]string{"--sbom", "true"}, bake.Query{SBOM: "true"}},
		{[]string{"--call=check"}, bake.Query{Call: "check"}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			var got bake.Query
			flags := pflag.NewFlagSet("bake", pflag.ContinueOnError)
			mab.BakeFlags(flags, &got)
			if err := flags.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			if flags.NArg() > 0 {
				t.Errorf("%q were taken for targets", flags.Args())
			}
			if test.want.Call == "" {
				test.want.Call = "build"
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			flags.Visit(func(f *pflag.Flag) { seen[f.Name] = true })
		})
	}
	flags := pflag.NewFlagSet("bake", pflag.ContinueOnError)
	mab.BakeFlags(flags, &bake.Query{})
	flags.VisitAll(func(f *pflag.Flag) {
		if !seen[f.Name] {
			t.Errorf("--%s has no row", f.Name)
		}
	})
	if err := flags.Parse([]string{"--pull=maybe"}); err == nil {
		t.Error("--pull=maybe is understood")
	}
}

// definition writes a bake file and returns its path.
func definition(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.hcl")
	text := "variable \"V\" {\n  default = \"1\"\n  description = \"a version\"\n}\nvariable \"N\" { default = null }\n" +
		"group \"all\" { targets = [\"app\", \"api\"] }\ntarget \"app\" { description = \"the program\" }\ntarget \"api\" {}\ntarget \"_private\" {}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPrintBaked(t *testing.T) {
	d, err := new(bake.Reader).Read(t.Context(), bake.Query{Files: []string{definition(t)}})
	if err != nil {
		t.Fatal(err)
	}
	const targets = "TARGET  DESCRIPTION\nall     api, app\napi     \napp     the program\n"
	for _, test := range []struct{ list, want string }{
		{"targets", targets},
		{"type=targets", targets},
		{"type=targets,format=table", targets},
		{"variables", "VARIABLE  TYPE  VALUE   DESCRIPTION\nN               <null>  \nV               1       a version\n"},
		{"type=targets,format=json", `[
  {
    "name": "all",
    "description": "api, app",
    "group": true
  },
  {
    "name": "api"
  },
  {
    "name": "app",
    "description": "the program"
  }
]
`},
		{"format=json,type=variables", `[
  {
    "name": "N"
  },
  {
    "name": "V",
    "description": "a version",
    "value": "1"
  }
]
`},
	} {
		t.Run(test.list, func(t *testing.T) {
			var out bytes.Buffer
			if err := mab.PrintBaked(&out, test.list, d); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, wrong := range []string{"target", "type=x", "targets,format=json", "type=targets,format=x", "type=targets,x=y", "format=json"} {
		if err := mab.PrintBaked(&bytes.Buffer{}, wrong, d); err == nil {
			t.Errorf("--list %s is understood", wrong)
		}
	}
}

func TestTargetsAreOffered(t *testing.T) {
	file := definition(t)
	for _, test := range []struct {
		rule  string
		files []string
		begun string
		want  []string
	}{
		{"all but private ones", []string{file}, "", []string{"all\tapi, app", "api", "app\tthe program"}},
		{"that begin so", []string{file}, "ap", []string{"api", "app\tthe program"}},
		{"none of files that cannot be read", []string{"nowhere"}, "", nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.want, mab.OfferBaked(t.Context(), test.files, test.begun)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
