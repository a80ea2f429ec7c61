// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
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
