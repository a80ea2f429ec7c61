// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

// TestTold has notes among the arguments become what they tell of, and nothing be left of them.
func TestTold(t *testing.T) {
	const part = "0000000000000000000000000000000000000000000000000000000000000001"
	uris := func(list ...string) (out string) {
		for i, uri := range list {
			if i > 0 {
				out += ","
			}
			out += fmt.Sprintf(`{"digest":{%s},"uri":%q}`, strings.Replace(map[bool]string{true: `"sha1":"2"`, false: `"sha256":"1"`}[strings.HasSuffix(uri, ".git")], "1", part, 1), uri)
		}
		return "[" + out + "]"
	}
	v1 := func(args, materials, request, meta string) string {
		return fmt.Sprintf(`{"buildDefinition":{"externalParameters":{"configSource":{},"request":{%s"frontend":"f"%s}},"resolvedDependencies":%s},`+
			`"runDetails":{"metadata":{"buildkit_completeness":{"request":true,"resolvedDependencies":%s}}}}`, args, request, materials, meta)
	}
	v02 := func(args, materials, request, meta string) string {
		return fmt.Sprintf(`{"invocation":{"configSource":{},"parameters":{%s"frontend":"f"%s}},"materials":%s,`+
			`"metadata":{"completeness":{"materials":%s}}}`, args, request, materials, meta)
	}
	const tagged, pinned = "pkg:docker/base@1?platform=linux%2Famd64", "pkg:docker/base@1?digest=sha256:" + part + "&platform=linux%2Famd64"
	for _, test := range []struct {
		rule            string
		notes           string
		materials, want []string
		request, meta   string
	}{
		{rule: "materials are in BuildKit's order", notes: `"materials":` + uris("http://a/x", "http://a/a.git", "pkg:docker/a@1"),
			materials: []string{"pkg:docker/z@1", "http://a/b"}, want: []string{"pkg:docker/a@1", "pkg:docker/z@1", "http://a/a.git", "http://a/b", "http://a/x"}},
		{rule: "each is there once", notes: `"materials":` + uris("http://a/b", "http://a/b"), materials: []string{"http://a/b"}, want: []string{"http://a/b"}},
		{rule: "an image with a tag is not named by its digest too", notes: `"materials":` + uris(tagged), materials: []string{pinned}, want: []string{tagged}},
		{rule: "one without is", notes: `"materials":` + uris(pinned), materials: []string{"pkg:docker/other@1"}, want: []string{pinned, "pkg:docker/other@1"}},
		{rule: "the part that stands for them is none", notes: `"materials":` + uris("http://a/x") + `,"imports":["` + part + `"]`,
			materials: []string{"pkg:oci/mab.local/part@latest?digest=sha256:" + part}, want: []string{"http://a/x"}},
		{rule: "what was read in a session", notes: `"locals":["b","a"]`, materials: []string{"http://a/b"}, want: []string{"http://a/b"},
			request: `,"locals":[{"name":"a"},{"name":"b"}]`, meta: "false"},
	} {
		for version, form := range map[string]func(args, materials, request, meta string) string{"SLSA v1": v1, "SLSA v0.2": v02} {
			t.Run(test.rule+", "+version, func(t *testing.T) {
				notes, err := json.Marshal(`{"linux/arm64":{"locals":["other"]},"linux/amd64":{` + test.notes + `}}`)
				if err != nil {
					t.Fatal(err)
				}
				got, err := solver.SteadyProvenance([]byte(form(`"args":{"build.mab.notes":`+string(notes)+`},`, uris(test.materials...), "", "true")))
				if err != nil {
					t.Fatal(err)
				}
				meta := test.meta
				if meta == "" {
					meta = "true"
				}
				want, err := solver.SteadyProvenance([]byte(form("", uris(test.want...), test.request, meta)))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(got)); diff != "" {
					t.Errorf("want -, got +:\n%s", diff)
				}
			})
		}
	}
	if _, err := solver.SteadyProvenance([]byte(v1(`"args":{"build.mab.notes":"{"},`, "[]", "", "true"))); err == nil {
		t.Error("damaged notes are taken")
	}
}
