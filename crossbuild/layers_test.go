// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/crossbuild"
)

func TestTopLayers(t *testing.T) {
	for _, test := range []struct {
		rule, dockerfile string
		want             []string
	}{
		{"down to the base image", goApp, []string{
			"[stage-2 4/4] COPY --from=build /app /app", "[stage-2 3/4] RUN adduser app", "[stage-2 2/4] RUN apk add tzdata",
		}},
		{"what is copied onto nothing is the lowest", "FROM scratch\nCOPY a /\nENV b=c\nCOPY d /", []string{"[2/2] COPY d /", "[1/2] COPY a /"}},
		{"stages on stages", "FROM alpine AS a\nRUN one\nFROM a\nWORKDIR /two\nUSER x\nRUN three", []string{
			"[stage-1 2/2] RUN three", "[stage-1 1/2] WORKDIR /two", "[a 2/2] RUN one",
		}},
		{"what is linked lies on what is below", "FROM alpine\nRUN one\nCOPY --link two /\nRUN three\nCOPY --link four /", []string{
			"[5/5] COPY --link four /", "[4/5] RUN three", "[3/5] COPY --link two /", "[2/5] RUN one",
		}},
		{"a base image alone", "FROM alpine\nENV a=b", nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var got []string
			for _, s := range read(t, arm64, test.dockerfile).TopLayers() {
				got = append(got, s.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("nothing is known of no graph", func(t *testing.T) {
		var none *crossbuild.Graph
		if got := append(none.TopLayers(), (&crossbuild.Graph{}).TopLayers()...); len(got) > 0 {
			t.Errorf("got %v", got)
		}
	})
}
