// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// bell is rung by steps.
type bell struct {
	*httptest.Server
	rings atomic.Int64
	first chan struct{}
	// hold has those who ring wait until they go away.
	hold bool
}

func newBell(t *testing.T, hold bool) *bell {
	t.Helper()
	b := &bell{first: make(chan struct{}), hold: hold}
	b.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if b.rings.Add(1) == 1 {
			close(b.first)
		}
		if b.hold {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(b.Close)
	return b
}

// ringing is a Dockerfile with a step that rings.
func (b *bell) ringing() string {
	return basic + "RUN /bin/busybox wget -q -O /ring " + b.URL + "/\nRUN echo after > /after\n"
}

func definitions(targets []solver.Target) (out []*pb.Definition) {
	for _, t := range targets {
		out = append(out, t.Definition)
	}
	return out
}

func TestGivenEarly(t *testing.T) {
	lead, home := fresh(t), fresh(t)
	for _, test := range []struct {
		rule    string
		request solver.Request
	}{
		{"what is begun early is a part of the whole", solver.Request{}},
		{"nor is it done twice without the cache", solver.Request{NoCache: true}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			b := newBell(t, false)
			test.request.Context = kitchen(t, b.ringing())
			targets := graphs(t, lead, &test.request)
			mustBake(t, home, solver.Solve{Request: &test.request, Early: definitions(targets), Given: func(ctx context.Context) (solver.Given, error) {
				select {
				case <-b.first:
				case <-ctx.Done():
				}
				return solver.Given{Targets: targets}, ctx.Err()
			}})
			if n := b.rings.Load(); n != 1 {
				t.Errorf("the step ran %d times", n)
			}
		})
	}
}

func TestGivenEnds(t *testing.T) {
	home := fresh(t)
	b := newBell(t, true)
	request := solver.Request{Context: kitchen(t, b.ringing())}
	targets := graphs(t, home, &request)
	boom := errors.New("boom")
	t.Run("by its error, and what was begun early with it", func(t *testing.T) {
		_, err := home.Build(t.Context(), solver.Solve{Request: &request, Early: definitions(targets), Given: func(ctx context.Context) (solver.Given, error) {
			select {
			case <-b.first:
			case <-ctx.Done():
			}
			return solver.Given{}, boom
		}})
		if !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("by a cancel while it waits", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := home.Build(ctx, solver.Solve{Request: &request, Early: definitions(targets), Given: func(ctx context.Context) (solver.Given, error) {
			cancel()
			<-ctx.Done()
			return solver.Given{}, ctx.Err()
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("when the solver is gone", func(t *testing.T) {
		d := serveMaker(t)
		_, err := d.Build(t.Context(), solver.Solve{Request: &request, Given: func(ctx context.Context) (solver.Given, error) {
			d.kill()
			<-ctx.Done()
			return solver.Given{}, ctx.Err()
		}})
		var f *solver.Failure
		if !errors.As(err, &f) || !f.Lost() {
			t.Errorf("got %v", err)
		}
	})
}

// TestGivenFailure has a step that fails be found in the Dockerfile and in the graph that the plan was made of.
func TestGivenFailure(t *testing.T) {
	lead, home, plain := fresh(t), fresh(t), fresh(t)
	request := solver.Request{Context: kitchen(t, basic+"COPY file /\nRUN echo no room >&2; exit 3\n")}
	failure := func(c *solver.Client, s solver.Solve) *solver.Failure {
		t.Helper()
		s.Request = &request
		_, err := bake(t, c, s)
		var f *solver.Failure
		if !errors.As(err, &f) {
			t.Fatalf("got %v", err)
		}
		return f
	}
	want := failure(plain, solver.Solve{})
	targets := graphs(t, lead, &request)
	step := head(t, targets[0].Definition)
	for _, test := range []struct {
		rule    string
		foreign bool
		early   []*pb.Definition
	}{
		{rule: "on a solver of mab's"},
		{rule: "on another", foreign: true},
		{rule: "begun early", early: definitions(targets)},
	} {
		t.Run(test.rule, func(t *testing.T) {
			home.SetForeign(test.foreign)
			got := failure(home, solver.Solve{Given: given(targets), Early: test.early})
			if diff := cmp.Diff([]string{want.Error(), want.Source, step.String(), platforms.Host().String()},
				[]string{got.Error(), got.Source, got.Step.String(), got.Platform.String()}); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// TestGivenElsewhere has a solver that is not mab's make the same images; of its provenance nothing is promised.
func TestGivenElsewhere(t *testing.T) {
	lead, home, plain := fresh(t), fresh(t), fresh(t)
	home.SetForeign(true)
	for rule, asked := range map[string][]string{"one platform": nil, "several": {"linux/arm64", "linux/amd64"}} {
		t.Run(rule, func(t *testing.T) {
			request := solver.Request{Context: kitchen(t, shared), Provenance: "false", Platforms: list(t, asked...)}
			want := mustBake(t, plain, solver.Solve{Request: &request})
			same(t, want, mustBake(t, home, solver.Solve{Request: &request, Given: given(graphs(t, lead, &request))}))
		})
	}
}

// TestGivenPart has a part of a build be what it is in the whole.
func TestGivenPart(t *testing.T) {
	lead, home, plain := fresh(t), fresh(t), fresh(t)
	images := newShelf(t)
	images.put(t, plain, "base", solver.Request{Context: kitchen(t, basic)})
	whole := solver.Request{Context: kitchen(t, "FROM --platform=$BUILDPLATFORM "+images.address+"/base AS a\nRUN echo 1 > /a\nFROM scratch\nCOPY --from=a /a /\n"),
		Platforms: list(t, "linux/amd64", "linux/s390x")}
	wantManifests, wantProvenances := mustBake(t, plain, solver.Solve{Request: &whole}).manifests(t)
	targets := graphs(t, lead, &whole)
	for i, p := range whole.Platforms {
		part := whole
		part.Platforms = whole.Platforms[i : i+1]
		manifests, provenances := mustBake(t, home, solver.Solve{Request: &part, Whole: whole.Platforms, Given: given(targets[i : i+1])}).manifests(t)
		if manifests[p.String()] != wantManifests[p.String()] {
			t.Errorf("%s: want %v, got %v", p, wantManifests, manifests)
		}
		if diff := cmp.Diff(wantProvenances[p.String()], provenances[p.String()]); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", p, diff)
		}
	}
}

// TestGivenCaches has caches be written and read as without it.
func TestGivenCaches(t *testing.T) {
	lead, writer, reader := fresh(t), fresh(t), fresh(t)
	b, cache := newBell(t, false), t.TempDir()
	request := solver.Request{Context: kitchen(t, b.ringing()), CacheTo: []string{"type=local,mode=max,dest=" + cache}}
	targets := graphs(t, lead, &solver.Request{Context: request.Context})
	mustBake(t, writer, solver.Solve{Request: &request, Given: given(targets)})
	if _, err := os.Stat(cache + "/index.json"); err != nil {
		t.Fatal(err)
	}
	request.CacheTo, request.CacheFrom = nil, []string{"type=local,src=" + cache}
	for _, foreign := range []bool{false, true} {
		reader.SetForeign(foreign)
		got := mustBake(t, reader, solver.Solve{Request: &request, Given: given(targets), Early: slices.Concat(definitions(targets), definitions(targets))})
		if got.Cached == 0 || b.rings.Load() != 1 {
			t.Errorf("%d of %d steps were in the cache; the step ran %d times", got.Cached, got.Steps, b.rings.Load())
		}
	}
}
