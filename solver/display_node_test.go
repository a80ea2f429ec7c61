// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/solver"
)

// shown decodes what a rawjson display wrote.
func shown(t *testing.T, text string) []client.SolveStatus {
	t.Helper()
	var out []client.SolveStatus
	for line := range strings.Lines(text) {
		var s client.SolveStatus
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		out = append(out, s)
	}
	return out
}

func display(t *testing.T, mode string) (*solver.Display, *strings.Builder) {
	t.Helper()
	var out strings.Builder
	d, err := solver.NewDisplay(&out, mode)
	if err != nil {
		t.Fatal(err)
	}
	return d, &out
}

func follow(t *testing.T, d *solver.Display, list ...*client.SolveStatus) {
	t.Helper()
	status := make(chan *client.SolveStatus)
	var group errgroup.Group
	group.Go(func() error { return d.Follow(status) })
	for _, s := range list {
		status <- s
	}
	close(status)
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// TestNodeNames has a node named where buildx names it.
func TestNodeNames(t *testing.T) {
	now := time.Now()
	for name, want := range map[string]string{
		"[linux/arm64 2/3] RUN true":                "[arm1 linux/arm64 2/3] RUN true",
		"[internal] load build definition from x":   "[arm1 internal] load build definition from x",
		"[2/3] COPY . .":                            "[arm1 2/3] COPY . .",
		"exporting to image":                        "[arm1] exporting to image",
		"importing cache manifest from r.example/c": "[arm1] importing cache manifest from r.example/c",
	} {
		d, out := display(t, "rawjson")
		follow(t, d.For("arm1"), &client.SolveStatus{Vertexes: []*client.Vertex{{
			Digest: digest.FromString("a"), Name: name, Started: &now, Completed: &now,
			ProgressGroup: &pb.ProgressGroup{Id: "g", Name: name, Weak: true},
		}}})
		got := shown(t, out.String())[0].Vertexes[0]
		if group := got.ProgressGroup; got.Name != want || group.Name != want || group.Id != "arm1 g" || !group.Weak {
			t.Errorf("%q became %q in the group %v", name, got.Name, group)
		}
	}
}

// TestNodesApart has equal steps of two nodes stay two, with all that is told of them.
func TestNodesApart(t *testing.T) {
	now := time.Now()
	base, step := digest.FromString("base"), digest.FromString("step")
	told := func() *client.SolveStatus {
		return &client.SolveStatus{
			Vertexes: []*client.Vertex{
				{Digest: base, Name: "[1/2] FROM b", Started: &now, Completed: &now},
				{Digest: step, Inputs: []digest.Digest{base}, Name: "[2/2] RUN x", Started: &now, Completed: &now},
			},
			Statuses: []*client.VertexStatus{{ID: "layer", Vertex: base, Timestamp: now}},
			Logs:     []*client.VertexLog{{Vertex: step, Data: []byte("hello\n"), Timestamp: now}},
			Warnings: []*client.VertexWarning{{Vertex: step, Short: []byte("careful")}},
		}
	}
	d, out := display(t, "rawjson")
	stop := d.Open()
	before := told()
	follow(t, d.For("a"), before)
	follow(t, d.For("b"), told())
	follow(t, d.For(""), told())
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(told(), before); diff != "" {
		t.Errorf("what was told was changed; want -, got +:\n%s", diff)
	}
	all := shown(t, out.String())
	if len(all) != 3 {
		t.Fatalf("got %d updates:\n%s", len(all), out)
	}
	seen := map[digest.Digest]bool{}
	for i, s := range all {
		first, second := s.Vertexes[0].Digest, s.Vertexes[1].Digest
		if seen[first] || seen[second] || first == second || first.Validate() != nil {
			t.Errorf("%d: the digests %s and %s", i, first, second)
		}
		seen[first], seen[second] = true, true
		if s.Vertexes[1].Inputs[0] != first || s.Statuses[0].Vertex != first || s.Logs[0].Vertex != second || s.Warnings[0].Vertex != second {
			t.Errorf("%d: something is of another step: %+v", i, s)
		}
	}
	if all[2].Vertexes[0].Digest != base {
		t.Errorf("without a name the steps are what they are")
	}
}

// TestNodeClocks has a node's clock not matter.
func TestNodeClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, day := time.Now(), 24*time.Hour
		at := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
		step := func(name string, started, completed *time.Time) *client.SolveStatus {
			return &client.SolveStatus{
				Vertexes: []*client.Vertex{{Digest: digest.FromString(name), Name: name, Started: started, Completed: completed}},
				Logs:     []*client.VertexLog{{Vertex: digest.FromString(name), Timestamp: *started}},
			}
		}
		d, out := display(t, "rawjson")
		follow(t, d.For("n"),
			step("begun before, by another", at(-day-time.Hour), nil),
			step("begun now", at(-day), nil),
			step("begun before, by another", at(-day-time.Hour), at(-day)),
			step("begun now", at(-day), at(-day+time.Second)),
		)
		var got [][3]string
		name := func(t *time.Time) string {
			if t == nil {
				return ""
			}
			return t.Sub(now).String()
		}
		for _, s := range shown(t, out.String()) {
			got = append(got, [3]string{name(s.Vertexes[0].Started), name(s.Vertexes[0].Completed), name(&s.Logs[0].Timestamp)})
		}
		if diff := cmp.Diff([][3]string{{"0s", "", "0s"}, {"0s", "", "0s"}, {"0s", "1h0m0s", "0s"}, {"0s", "1s", "0s"}}, got); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
}

// TestSeveralBuildsOnOneDisplay has all that is shown between the begin and the end be shown on one screen, whoever shows it.
func TestSeveralBuildsOnOneDisplay(t *testing.T) {
	now := time.Now()
	d, out := display(t, "plain")
	stop := d.Open()
	hanging := make(chan *client.SolveStatus)
	var group errgroup.Group
	group.Go(func() error { return d.For("lost").Follow(hanging) })
	hanging <- &client.SolveStatus{Vertexes: []*client.Vertex{{Digest: digest.FromString("a"), Name: "[1/1] RUN sleep", Started: &now}}}
	for _, node := range []string{"a", "b"} {
		group.Go(func() error {
			child := d.For(node)
			child.Note([]string{"to " + node})
			follow(t, child, &client.SolveStatus{Vertexes: []*client.Vertex{
				{Digest: digest.FromString("a"), Name: "[1/1] RUN true", Started: &now, Completed: &now},
			}})
			return child.Show(t.Context(), "fetching", func(_ context.Context, tell solver.Progress) error { tell("blob", 1, 1); return nil })
		})
	}
	d.Note([]string{"at once"})
	close(hanging)
	if err := errors.Join(group.Wait(), stop()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"[mab] at once\n", "[a mab] to a\n", "[b mab] to b\n", "[a 1/1] RUN true\n", "[b 1/1] RUN true\n", "[a mab] fetching\n", "[b mab] fetching\n",
		"[lost 1/1] RUN sleep\n", " CANCELED\n",
	} {
		if n := strings.Count(out.String(), want); n != 1 {
			t.Errorf("%q is there %d times in:\n%s", want, n, out)
		}
	}
	t.Run("the end waits for nobody who still looks", func(t *testing.T) {
		d, out := display(t, "plain")
		stop, status, ended := d.Open(), make(chan *client.SolveStatus), make(chan error)
		go func() { ended <- d.For("a").Follow(status) }()
		status <- &client.SolveStatus{}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		status <- &client.SolveStatus{Vertexes: []*client.Vertex{{Digest: digest.FromString("a"), Name: "late", Started: &now, Completed: &now}}}
		close(status)
		if err := <-ended; err != nil || !strings.Contains(out.String(), "[a] late\n") {
			t.Errorf("error %v; got %s", err, out)
		}
	})
	t.Run("without a display", func(t *testing.T) {
		var none *solver.Display
		stop := none.Open()
		follow(t, none.For("a"), &client.SolveStatus{})
		none.For("a").Note([]string{"a"})
		if err := stop(); err != nil || none.For("a") != nil {
			t.Errorf("got %v, %v", none.For("a"), err)
		}
	})
}
