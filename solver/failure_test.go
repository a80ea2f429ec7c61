// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mab-build/mab/solver"
)

func TestBaseWithoutPlatform(t *testing.T) {
	for _, test := range []struct{ rule, text, want string }{
		{
			"BuildKit v0.33.1",
			"failed to solve: failed to run Build function: registry.example/base:1: failed to resolve source metadata for registry.example/base:1: " +
				"no match for platform in manifest: not found",
			"registry.example/base:1",
		},
		{
			"with a digest",
			"a/b@sha256:e3b0: failed to resolve source metadata for a/b@sha256:e3b0: no match for platform in manifest: not found",
			"a/b@sha256:e3b0",
		},
		{
			"containerd names the digest that it looked into",
			"docker.io/library/x:1: failed to resolve source metadata for docker.io/library/x:1: no match for platform in manifest sha256:e3b0: not found",
			"docker.io/library/x:1",
		},
		{"a base that is not there at all", "x: failed to resolve source metadata for docker.io/library/x:latest: docker.io/library/x:latest: not found", ""},
		{"another platform error", "no match for platform in manifest: not found", ""},
		{"nothing", "", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := solver.BaseWithoutPlatform(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	lost := status.Error(codes.Unavailable, "error reading from server: EOF")
	source := &errdefs.Source{
		Info:   &pb.SourceInfo{Filename: "Dockerfile", Data: []byte("FROM scratch\nRUN false\n")},
		Ranges: []*pb.Range{{Start: &pb.Position{Line: 2}, End: &pb.Position{Line: 2}}},
	}
	type explained struct {
		Text, Base, Source string
		Lost               bool
	}
	for _, test := range []struct {
		rule string
		err  error
		want explained
	}{
		{"BuildKit's prefixes say nothing", errors.New("failed to solve: failed to run Build function: exit code: 1"), explained{Text: "exit code: 1"}},
		{"they are cut off at the beginning only", errors.New("a: failed to solve: b"), explained{Text: "a: failed to solve: b"}},
		{"a broken connection", lost, explained{Text: lost.Error(), Lost: true}},
		{"a solver that was stopped", fmt.Errorf("solving: %w", status.Error(codes.Canceled, "stopping")),
			explained{Text: "solving: rpc error: code = Canceled desc = stopping", Lost: true}},
		{"a base without a platform", errors.New("failed to resolve source metadata for b:1: no match for platform in manifest: not found"),
			explained{Text: "failed to resolve source metadata for b:1: no match for platform in manifest: not found", Base: "b:1"}},
		{"the lines that failed", errdefs.WithSource(errors.New("exit code: 1"), source), explained{
			Text:   "exit code: 1",
			Source: "Dockerfile:2\n--------------------\n   1 |     FROM scratch\n   2 | >>> RUN false\n   3 |     \n--------------------\n",
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			err := solver.Explain(t.Context(), test.err)
			var failure *solver.Failure
			if !errors.As(err, &failure) || !errors.Is(err, test.err) {
				t.Fatalf("got %#v", err)
			}
			got := explained{Text: err.Error(), Base: failure.Base, Source: failure.Source, Lost: failure.Lost()}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if err := solver.Explain(over, test.err); !errors.Is(err, context.Canceled) {
				t.Errorf("of a cancelled build: %v", err)
			}
		})
	}
}

// TestHints has the failures that a user can mend known by their words, and the registry named where the message tells it.
func TestHints(t *testing.T) {
	const from = "Dockerfile:1\n--------------------\n   1 | >>> FROM --platform=$BUILDPLATFORM r.example:5000/base:1 AS build\n"
	for _, test := range []struct{ rule, text, source, want string }{
		{"plain HTTP", `failed to do request: Head "https://r.example/v2/a/manifests/1": http: server gave HTTP response to HTTPS client`, "",
			"r.example speaks plain HTTP; if that is meant, allow it: --insecure-registry"},
		{"a push without credentials", "failed to push r.example/a: push access denied: insufficient_scope: authorization failed", "",
			"r.example wants other credentials; log in: docker login r.example"},
		{"a base without credentials", "failed to resolve source metadata for r.example:5000/base:1: unexpected status: 401 Unauthorized", "",
			"r.example:5000 wants other credentials; log in: docker login r.example:5000"},
		{"a message that names no registry", "failed to fetch oauth token: unexpected status", from,
			"r.example:5000 wants other credentials; log in: docker login r.example:5000"},
		{"nothing names it", "failed to fetch oauth token: unexpected status", "", "the registry wants other credentials; log in: docker login the registry"},
		{"a full disk", "write /var/lib/mab/x: no space left on device", "", "the disk of the solver's state is full"},
		{"one file of two platforms", "cannot overwrite a from linux/arm64 with linux/amd64 when split option is disabled", "", "leave platform-split=false out"},
		{"no such stage", `target stage "finl" could not be found`, "", "name a stage of the Dockerfile"},
		{"a command is the user's, whatever it says", `process "/bin/sh -c echo no space left on device; false" did not complete successfully: exit code: 1`, from, ""},
		{"a failure that nobody knows", "what is this", from, ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var failure *solver.Failure
			if !errors.As(solver.Explain(t.Context(), errors.New(test.text)), &failure) {
				t.Fatal("no failure")
			}
			failure.Source = test.source
			got := failure.Hint()
			if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if other := failure.HintFor("other.example"); strings.Contains(test.want, "the registry") && !strings.Contains(other, "other.example") {
				t.Errorf("for another registry: %q", other)
			}
		})
	}
}

func TestStartError(t *testing.T) {
	cause := errors.New("exit status 1")
	for _, test := range []struct {
		rule string
		err  error
		log  string
		want string
	}{
		{"a reason and a log", cause, "a\nb", "starting the solver: exit status 1; the end of its log:\na\nb"},
		{"no log", cause, "", "starting the solver: exit status 1"},
		{"no reason", nil, "a", "starting the solver; the end of its log:\na"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			err := solver.NewStartError(test.err, test.log)
			if err.Error() != test.want || !errors.Is(err, test.err) && test.err != nil {
				t.Errorf("got %q", err)
			}
		})
	}
}
