// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/crossbuild"
)

// TestReadOf holds which steps of two requests are the same.
func TestReadOf(t *testing.T) {
	const dockerfile = `
FROM alpine
RUN --mount=type=secret,id=a one
RUN --mount=type=secret,id=b,env=B two
RUN --mount=type=ssh three`
	secret := func(id, from string) crossbuild.Own { return crossbuild.Own{Secrets: map[string]string{id: from}} }
	for _, c := range []struct {
		rule         string
		one, another crossbuild.Own
		noCache      bool // of another's steps
		same         int
	}{
		{"all, if nothing is said", crossbuild.Own{}, crossbuild.Own{}, false, 4},
		{"those that use other secrets are not, nor what needs them", secret("a", "x"), secret("a", "y"), false, 1},
		{"nor those that have them in variables", secret("b", "x"), secret("b", "y"), false, 2},
		{"those with the same secret are", secret("a", "x"), secret("a", "x"), false, 4},
		{"a secret that no step uses makes no difference", secret("z", "x"), secret("z", "y"), false, 4},
		{"agents are as secrets", crossbuild.Own{SSH: map[string]string{"default": "x"}}, crossbuild.Own{SSH: map[string]string{"default": "y"}}, false, 3},
		{"the cache makes no difference", crossbuild.Own{}, crossbuild.Own{}, true, 4},
		{"unless it does for the requests", crossbuild.Own{NoCache: true}, crossbuild.Own{NoCache: true}, true, 0},
	} {
		t.Run(c.rule, func(t *testing.T) {
			graph := func(own crossbuild.Own, noCache bool) *crossbuild.Graph {
				def := convert(t, arm64, dockerfile)
				for _, md := range def.Metadata {
					md.IgnoreCache = noCache
				}
				g, err := crossbuild.ReadOf(arm64, def, own)
				if err != nil {
					t.Fatal(err)
				}
				return g
			}
			if got := len(crossbuild.Shared([]*crossbuild.Graph{graph(c.one, false), graph(c.another, c.noCache)})); got != c.same {
				t.Errorf("%d steps are the same, want %d", got, c.same)
			}
		})
	}
}

// TestRenamed holds that sources of the client's are named anew, and nothing else is changed.
func TestRenamed(t *testing.T) {
	var d definition
	layout := source("oci-layout://x@sha256:1")
	layout.GetSource().Attrs = map[string]string{pb.AttrOCILayoutStoreID: "mab-0-x"}
	merge := &pb.MergeOp{}
	for i := range int64(4) {
		merge.Inputs = append(merge.Inputs, &pb.MergeInput{Input: i})
	}
	def := d.end(d.add(&pb.Op{Op: &pb.Op_Merge{Merge: merge}},
		d.add(local("context", "1")), d.add(local("more", "1")), d.add(layout), d.add(source("docker-image://context"))))
	got, err := crossbuild.Renamed(def, crossbuild.Renaming{
		Locals: map[string]string{"context": "context@2"}, Stores: map[string]string{"mab-0-x": "mab-0-x@2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	valid(t, got)
	var names []string
	for _, raw := range got.Def {
		var op pb.Op
		if err := op.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		if s := op.GetSource(); s != nil {
			names = append(names, s.GetIdentifier()+" "+s.GetAttrs()[pb.AttrOCILayoutStoreID])
		}
	}
	want := []string{"local://context@2 ", "local://more ", "oci-layout://x@sha256:1 mab-0-x@2", "docker-image://context "}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	for rule, to := range map[string]crossbuild.Renaming{"nothing to rename": {}, "no such source": {Locals: map[string]string{"other": "x"}}} {
		if again, err := crossbuild.Renamed(def, to); err != nil || again != def {
			t.Errorf("%s: the definition is changed, error %v", rule, err)
		}
	}
}
