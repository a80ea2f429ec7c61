// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

func TestSteadyProvenance(t *testing.T) {
	for _, test := range []struct{ rule, predicate, want string }{
		{
			"SLSA v1",
			`{"runDetails":{"metadata":{"invocationId":"x","startedOn":"a","finishedOn":"b","buildkit_hermetic":true},"builder":{"id":""}},"buildDefinition":{}}`,
			`{"buildDefinition":{},"runDetails":{"builder":{"id":""},"metadata":{"buildkit_hermetic":true}}}`,
		},
		{
			"SLSA v0.2",
			`{"metadata":{"buildInvocationID":"x","buildStartedOn":"a","buildFinishedOn":"b","completeness":{"parameters":true}},"buildType":"t"}`,
			`{"buildType":"t","metadata":{"completeness":{"parameters":true}}}`,
		},
		{
			"fields of these names elsewhere are kept",
			`{"startedOn":"a","metadata":{"startedOn":"b"},"runDetails":{"startedOn":"c","metadata":{"buildStartedOn":"d"}}}`,
			`{"metadata":{"startedOn":"b"},"runDetails":{"metadata":{"buildStartedOn":"d"},"startedOn":"c"},"startedOn":"a"}`,
		},
		{
			"digests of one run, in SLSA v1",
			`{"buildDefinition":{"internalParameters":{"buildConfig":{"digestMapping":{"a":"b"},"llbDefinition":[1]}}},` +
				`"runDetails":{"metadata":{"buildkit_metadata":{"source":{"infos":[{"digestMapping":{"a":"b"},"filename":"f"},{"digestMapping":1},2]}}}}}`,
			`{"buildDefinition":{"internalParameters":{"buildConfig":{"llbDefinition":[1]}}},` +
				`"runDetails":{"metadata":{"buildkit_metadata":{"source":{"infos":[{"filename":"f"},{},2]}}}}}`,
		},
		{
			"digests of one run, in SLSA v0.2",
			`{"buildConfig":{"digestMapping":{}},"metadata":{"https://mobyproject.org/buildkit@v1#metadata":{"source":{"infos":[{"digestMapping":{}}]}}}}`,
			`{"buildConfig":{},"metadata":{"https://mobyproject.org/buildkit@v1#metadata":{"source":{"infos":[{}]}}}}`,
		},
		{"fields nobody knows are kept", `{"x":[1,{"y":null}],"runDetails":[]}`, `{"runDetails":[],"x":[1,{"y":null}]}`},
		{"numbers are kept exactly", `{"n":9007199254740993,"f":1.10,"e":1e400}`, `{"e":1e400,"f":1.10,"n":9007199254740993}`},
		{"nothing to leave out", `{}`, `{}`},
		{"metadata that is no object", `{"metadata":"x","runDetails":{"metadata":null}}`, `{"metadata":"x","runDetails":{"metadata":null}}`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := solver.SteadyProvenance([]byte(test.predicate))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, compact(t, got)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			again, err := solver.SteadyProvenance(got)
			if diff := cmp.Diff(string(got), string(again)); err != nil || diff != "" {
				t.Errorf("a second time: error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
	if _, err := solver.SteadyProvenance([]byte(`"no object"`)); err == nil {
		t.Error("what is no object is taken")
	}
}

func TestMetadataProvenance(t *testing.T) {
	const v1 = `{"buildDefinition":{"buildType":"t","externalParameters":{"configSource":{},"request":{"frontend":"gateway.v0"}},` +
		`"internalParameters":{"buildConfig":{"llbDefinition":[{"id":"step0"}]}},"resolvedDependencies":[{"uri":"u","digest":{"sha256":"d"}}]},` +
		`"runDetails":{"builder":{"id":"b"},"metadata":{"invocationId":"i"}}}`
	for _, test := range []struct {
		rule, predicate, want string
		detailed              bool
	}{
		{
			"SLSA v1 becomes v0.2", v1,
			`{"builder":{"id":"b"},"buildType":"https://mobyproject.org/buildkit@v1","materials":[{"uri":"u","digest":{"sha256":"d"}}],` +
				`"invocation":{"configSource":{},"parameters":{"frontend":"gateway.v0"},"environment":{"platform":""}}}`, false,
		},
		{"v0.2 stays", `{"builder":{"id":"b"},"buildType":"t","metadata":{"buildInvocationID":"i"}}`, `{"builder":{"id":"b"},"buildType":"t","invocation":{"configSource":{},"parameters":{},"environment":{"platform":""}}}`, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := solver.MetadataProvenance([]byte(test.predicate), "linux/amd64", test.detailed)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
	full, err := solver.MetadataProvenance([]byte(v1), "", true)
	if err != nil || !strings.Contains(string(full), `"step0"`) || !strings.Contains(string(full), `"buildInvocationID":"i"`) {
		t.Errorf("error %v; the detailed one is %s", err, full)
	}
	if _, err := solver.MetadataProvenance([]byte("{"), "", false); err == nil {
		t.Error("what is no predicate was taken")
	}
}
