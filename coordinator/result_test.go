// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

func refs(t *testing.T, list ...string) []manifestlist.Reference {
	t.Helper()
	out, err := manifestlist.ParseReferences(list)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestResult(t *testing.T) {
	image := ocispec.Descriptor{Digest: "sha256:e3b0"}
	for _, test := range []struct {
		rule     string
		result   coordinator.Result
		line, id string
	}{
		{"no image", coordinator.Result{}, "", ""},
		{"an image that went nowhere", coordinator.Result{Descriptor: image}, "sha256:e3b0", "sha256:e3b0"},
		{"the first reference, by digest", coordinator.Result{Descriptor: image, Refs: refs(t, "r.example/a:1", "r.example/b:1")}, "r.example/a@sha256:e3b0", "sha256:e3b0"},
		{"as docker would write it", coordinator.Result{Descriptor: image, Refs: refs(t, "alpine:3")}, "alpine@sha256:e3b0", "sha256:e3b0"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := test.result.String(); got != test.line {
				t.Errorf("got %q, want %q", got, test.line)
			}
			if got := test.result.ID(); got != test.id {
				t.Errorf("got %q, want %q", got, test.id)
			}
		})
	}
}

// TestMetadata holds the content of --metadata-file: what docker buildx writes under the same keys, and mab's own.
func TestMetadata(t *testing.T) {
	amd64, arm64 := platforms.MustParse("linux/amd64"), platforms.MustParse("linux/arm64")
	plan := &coordinator.Plan{Assignments: []coordinator.Assignment{
		{Platform: arm64, Node: "local", Strategy: crossbuild.Emulated, Why: "no node runs it"},
		{Platform: amd64, Node: "local", Strategy: crossbuild.Native, Why: "the node runs it"},
	}}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: "sha256:aa", Size: 7}
	image := func(p platforms.Platform, dgst digest.Digest) manifestlist.Image {
		return manifestlist.Image{Platform: p, Manifest: ocispec.Descriptor{Digest: dgst}, Config: ocispec.Descriptor{Digest: dgst + "c"}}
	}
	for _, test := range []struct {
		rule   string
		result coordinator.Result
		want   string
	}{
		{"an index that was pushed", coordinator.Result{
			Descriptor: desc, Refs: refs(t, "r.example/a:1", "b"), Plan: plan, Ref: "local/xyz", Took: 1500 * time.Millisecond,
			Images: []manifestlist.Image{image(arm64, "sha256:bb"), image(amd64, "sha256:cc")},
			Phases: []coordinator.Phase{{Name: "attach", Seconds: 0.25}},
		}, `{
  "buildx.build.ref": "mab/local/xyz",
  "containerimage.descriptor": {
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "digest": "sha256:aa",
    "size": 7
  },
  "containerimage.digest": "sha256:aa",
  "image.name": "r.example/a:1,docker.io/library/b:latest",
  "mab.phases": [
    {
      "name": "attach",
      "seconds": 0.25
    }
  ],
  "mab.platforms": [
    {
      "platform": "linux/arm64",
      "digest": "sha256:bb",
      "node": "local",
      "strategy": "emulated",
      "why": "no node runs it"
    },
    {
      "platform": "linux/amd64",
      "digest": "sha256:cc",
      "node": "local",
      "strategy": "native",
      "why": "the node runs it"
    }
  ],
  "mab.seconds": 1.5
}`},
		{"one image", coordinator.Result{
			Descriptor: desc, Plan: &coordinator.Plan{Assignments: plan.Assignments[1:]}, Images: []manifestlist.Image{image(amd64, "sha256:cc")},
		}, `{
  "buildx.build.ref": "mab/",
  "containerimage.config.digest": "sha256:ccc",
  "containerimage.descriptor": {
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "digest": "sha256:aa",
    "size": 7
  },
  "containerimage.digest": "sha256:aa",
  "mab.phases": null,
  "mab.platforms": [
    {
      "platform": "linux/amd64",
      "digest": "sha256:cc",
      "node": "local",
      "strategy": "native",
      "why": "the node runs it"
    }
  ],
  "mab.seconds": 0
}`},
		{"no image", coordinator.Result{Plan: &coordinator.Plan{}, Ref: "local/xyz"}, `{
  "buildx.build.ref": "mab/local/xyz",
  "mab.phases": null,
  "mab.platforms": null,
  "mab.seconds": 0
}`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := test.result.Metadata()
			if diff := cmp.Diff(test.want, string(got)); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("config says linux/arm64")
	for _, test := range []struct {
		rule string
		err  error
		text string
		hint string
	}{
		{"a refused result", coordinator.NewRefusedError(cause), "checking the result: config says linux/arm64", ""},
		{"a lost node", &coordinator.LostError{Node: "pi4"}, "building on pi4: the solver went away", "run the same command again"},
		{"a lost node with a log", &coordinator.LostError{Node: "pi4", Log: "a\nb"}, "building on pi4: the solver went away; the end of its log:\na\nb", "run the same command again"},
		{"a base that lacks platforms", &coordinator.BaseError{
			Base: "b:1", Lacks: request("s390x", "arm/v7").Platforms, Has: request("amd64", "arm64").Platforms,
		}, "the base image b:1 has no linux/s390x, linux/arm/v7; it has linux/amd64, linux/arm64", "FROM --platform=$BUILDPLATFORM"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.text, test.err.Error()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if got := hint(test.err); !strings.Contains(got, test.hint) {
				t.Errorf("got the hint %q, want %q in it", got, test.hint)
			}
		})
	}
	if !errors.Is(coordinator.NewRefusedError(cause), cause) {
		t.Error("the finding is lost")
	}
}

func TestFailures(t *testing.T) {
	lost, own := &coordinator.LostError{Node: "pi4"}, errors.New("exit code: 1")
	for _, test := range []struct {
		rule string
		list []error
		want bool
	}{
		{"all nodes were lost", []error{lost, lost}, true},
		{"the first node was lost", []error{lost, own}, false},
		{"the last node was lost", []error{own, lost}, false},
	} {
		var err interface{ Lost() bool }
		if got := errors.As(coordinator.NewFailuresError(test.list...), &err) && err.Lost(); got != test.want {
			t.Errorf("%s: lost: %v", test.rule, got)
		}
	}
}

// TestFailedStep has the plan tell for which platforms, where and how a step ran that failed.
func TestFailedStep(t *testing.T) {
	graphs := []*crossbuild.Graph{graph("arm64", "amd64", "arm64"), graph("s390x", "amd64", "s390x"), graph("amd64", "amd64", "amd64")}
	plan, err := coordinator.NewPlan(coordinator.Situation{Graphs: graphs, Farm: farm("pc: amd64 (arm64) (s390x)")})
	if err != nil {
		t.Fatal(err)
	}
	// The same step is for both platforms, and an emulator runs it on one of the nodes.
	shared, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("amd64", "arm64", "amd64"), graph("arm64", "arm64", "arm64")}, Farm: farm("pc: amd64 (arm64)", "pi: arm64"),
	})
	if err != nil {
		t.Fatal(err)
	}
	type step struct {
		Platforms []platforms.Platform
		Node      string
		How       crossbuild.How
		Name      string
	}
	for _, test := range []struct {
		rule string
		plan *coordinator.Plan
		step *crossbuild.Step
		want step
	}{
		{"of one platform", plan, &graphs[1].Steps[1], step{request("s390x").Platforms, "pc", crossbuild.RunsEmulated, "[2/2] RUN make"}},
		{"of all", plan, &graphs[1].Steps[0], step{request("arm64", "s390x", "amd64").Platforms, "pc", crossbuild.RunsNatively, "[1/2] RUN make"}},
		{"of several nodes, on the one", shared, shared.Assignments[0].Steps[0].Step,
			step{request("amd64").Platforms, "pc", crossbuild.RunsEmulated, "[1/2] RUN make"}},
		{"of several nodes, on the other", shared, shared.Assignments[1].Steps[0].Step,
			step{request("arm64").Platforms, "pi", crossbuild.RunsNatively, "[1/2] RUN make"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			failure := &solver.Failure{Step: test.step.Digest}
			var got *coordinator.StepError
			if err := coordinator.Explain(t.Context(), nil, test.plan, test.want.Node, failure); !errors.As(err, &got) || !errors.Is(err, failure) {
				t.Fatalf("got %#v", err)
			}
			if diff := cmp.Diff(test.want, step{got.Platforms, got.Node, got.How, got.Step.Name}); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
	for rule, test := range map[string]struct {
		plan    *coordinator.Plan
		failure *solver.Failure
	}{
		"a step of no platform":        {plan, &solver.Failure{Step: "sha256:e3b0"}},
		"no step":                      {plan, &solver.Failure{}},
		"a failure before the plan is": {nil, &solver.Failure{Step: graphs[0].Steps[0].Digest}},
	} {
		t.Run(rule+" is told as it is", func(t *testing.T) {
			if got := coordinator.Explain(t.Context(), nil, test.plan, "pc", test.failure); got != error(test.failure) { //nolint:errorlint // the very error
				t.Errorf("got %#v", got)
			}
		})
	}
}

// TestExplain has a registry tell which platforms a base image has.
func TestExplain(t *testing.T) {
	store := blobs{}
	store["2"] = store[store.index(t, request("amd64", "arm/v6").Platforms...).Digest.String()]
	server := httptest.NewServer(store)
	defer server.Close()
	base := strings.TrimPrefix(server.URL, "http://") + "/base:"
	for _, test := range []struct {
		rule, base string
		asked      []string
		text, hint string
	}{
		{"what it lacks and what it has", base + "2", []string{"s390x", "amd64", "ppc64le"},
			"the base image " + base + "2 has no linux/s390x, linux/ppc64le; it has linux/amd64, linux/arm/v6", "take another base image"},
		{"a lower variant will do", base + "2", []string{"arm64", "arm/v7"},
			"the base image " + base + "2 has no linux/arm64; it has linux/amd64, linux/arm/v6", "take another base image"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			failure := &solver.Failure{Base: test.base}
			err := coordinator.Explain(t.Context(), &coordinator.Request{Request: request(test.asked...)}, nil, "pc", failure)
			var lacking *coordinator.BaseError
			if !errors.As(err, &lacking) || !errors.Is(err, failure) {
				t.Fatalf("got %#v", err)
			}
			if diff := cmp.Diff(test.text, err.Error()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if !strings.Contains(hint(err), test.hint) {
				t.Errorf("got the hint %q", hint(err))
			}
		})
	}
	for rule, failure := range map[string]error{
		"a base that the registry does not have": &solver.Failure{Base: base + "9"},
		"a base that lacks nothing asked for":    &solver.Failure{Base: base + "2"},
		"another failure":                        &solver.Failure{},
		"another error":                          context.Canceled,
		"no error":                               nil,
	} {
		t.Run(rule+" is told as it is", func(t *testing.T) {
			if got := coordinator.Explain(t.Context(), &coordinator.Request{Request: request("amd64")}, nil, "pc", failure); got != failure { //nolint:errorlint // the very error
				t.Errorf("got %#v", got)
			}
		})
	}
}
