// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

func asFailure(err error, f **solver.Failure) bool { return errors.As(err, f) }

const shared = `FROM --platform=$BUILDPLATFORM scratch AS tools
COPY busybox /bin/sh
COPY busybox /bin/busybox
RUN ["/bin/busybox", "mkdir", "-p", "/out"]
RUN /bin/busybox cat /proc/sys/kernel/random/boot_id > /out/id && /bin/busybox echo $BUILDPLATFORM > /out/build
FROM scratch
ARG TARGETPLATFORM
LABEL of=$TARGETPLATFORM
COPY --from=tools /out /out
COPY file /
`

// TestGiven has what one solver's frontend made be solved by another, which makes of it what it would have made of the Dockerfile.
func TestGiven(t *testing.T) {
	lead, home, plain := fresh(t), fresh(t), fresh(t)
	for _, test := range []struct {
		rule       string
		dockerfile string
		request    solver.Request
		// untold is what BuildKit tells nothing of.
		untold bool
	}{
		{rule: "one platform", dockerfile: shared},
		{rule: "several", dockerfile: shared, request: solver.Request{Platforms: list(t, "linux/amd64", "linux/arm64", "linux/arm/v7")}},
		{rule: "an empty image", dockerfile: "FROM scratch\n", untold: true},
		{rule: "all of the provenance", dockerfile: shared, request: solver.Request{Provenance: "mode=max", Platforms: list(t, "linux/arm64", "linux/amd64")}},
		{rule: "provenance of SLSA v0.2", dockerfile: shared, request: solver.Request{Provenance: "mode=max,version=v0.2"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.request.Context = kitchen(t, test.dockerfile)
			want := mustBake(t, plain, solver.Solve{Request: &test.request})
			got := mustBake(t, home, solver.Solve{Request: &test.request, Given: given(graphs(t, lead, &test.request))})
			same(t, want, got)
			if _, provenances := want.manifests(t); len(provenances) == 0 != test.untold {
				t.Errorf("%d provenances", len(provenances))
			}
		})
	}
}

// same compares two images, and what is said of them. What is said in detail names layers by their digests in the one build.
func same(t *testing.T, want, got image) {
	t.Helper()
	if want.index.Digest != got.index.Digest && !want.detailed {
		t.Errorf("want %s, got %s", want.index.Digest, got.index.Digest)
	}
	wantManifests, wantProvenances := want.manifests(t)
	gotManifests, gotProvenances := got.manifests(t)
	if diff := cmp.Diff(wantManifests, gotManifests); diff != "" {
		t.Errorf("images: want -, got +:\n%s", diff)
	}
	if diff := cmp.Diff(withoutLayers(wantProvenances), withoutLayers(gotProvenances)); diff != "" {
		t.Errorf("provenances: want -, got +:\n%s", diff)
	}
}

// withoutLayers leaves the digests of layers out of provenances: they are those before time stamps were rewritten.
func withoutLayers(all map[string]map[string]any) map[string]map[string]any {
	for _, p := range all {
		for _, path := range [][]string{
			{"runDetails", "metadata", "buildkit_metadata"}, {"metadata", "https://mobyproject.org/buildkit@v1#metadata"},
		} {
			at := p
			for _, name := range path {
				at, _ = at[name].(map[string]any)
			}
			delete(at, "layers")
		}
	}
	return all
}

// TestTargets has a target hold what the frontend says of it.
func TestTargets(t *testing.T) {
	lead := fresh(t)
	context := kitchen(t, "FROM scratch\nARG BUILDPLATFORM BUILDVARIANT TARGETPLATFORM\nLABEL all=$TARGETPLATFORM:$BUILDPLATFORM:$BUILDVARIANT\nCOPY file /\n")
	for _, test := range []struct {
		rule    string
		request solver.Request
		build   string
		want    []string
	}{
		{rule: "one platform", want: []string{"linux/amd64:linux/amd64:"}},
		{rule: "each has its own config", request: solver.Request{Platforms: list(t, "linux/s390x", "linux/arm/v7")},
			want: []string{"linux/s390x:linux/amd64:", "linux/arm/v7:linux/amd64:"}},
		{rule: "another BUILDPLATFORM", build: "linux/arm/v7", want: []string{"linux/amd64:linux/arm/v7:v7"}},
		{rule: "one without variant", build: "linux/s390x", want: []string{"linux/amd64:linux/s390x:"}},
		{rule: "what the user says wins", build: "linux/arm/v7", request: solver.Request{BuildArgs: []string{"BUILDPLATFORM=mine"}},
			want: []string{"linux/amd64:mine:v7"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.request.Context = context
			targets := graphs(t, lead, &test.request, func(s *solver.Solve) {
				if test.build != "" {
					s.BuildPlatform = list(t, test.build)[0]
				}
			})
			var got []string
			for _, target := range targets {
				var config struct {
					Config struct{ Labels map[string]string }
				}
				if err := json.Unmarshal(target.Metadata["containerimage.config"], &config); err != nil {
					t.Fatal(err)
				}
				got = append(got, config.Config.Labels["all"])
				if keys := slices.Sorted(maps.Keys(target.Metadata)); !slices.Equal(keys, []string{"containerimage.config", "source.date.epoch"}) {
					t.Errorf("got %v", keys)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}
