// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/solver"
)

func TestDisplayModes(t *testing.T) {
	for _, mode := range []string{"auto", "plain", "tty", "rawjson", "quiet", "none"} {
		_, err := solver.NewDisplay(&strings.Builder{}, mode)
		// A terminal is needed for tty alone.
		if (err != nil) != (mode == "tty") {
			t.Errorf("%s: %v", mode, err)
		}
	}
	_, err := solver.NewDisplay(&strings.Builder{}, "fancy")
	checkUsage(t, err, `--progress "fancy"`)
}

func TestDisplay(t *testing.T) {
	now := time.Now()
	build := func(status chan<- *client.SolveStatus) {
		status <- &client.SolveStatus{Vertexes: []*client.Vertex{{
			Digest: digest.FromString("a"), Name: "[1/1] RUN true", Started: &now, Completed: &now,
		}}}
		close(status)
	}
	t.Run("notes go between the steps", func(t *testing.T) {
		var out strings.Builder
		d, err := solver.NewDisplay(&out, "plain")
		if err != nil {
			t.Fatal(err)
		}
		status := make(chan *client.SolveStatus)
		go func() {
			d.Note([]string{"first line", "second line"})
			d.Note(nil)
			build(status)
		}()
		if err := d.Follow(status); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{" [mab] first line\n", " [mab] second line\n", "[1/1] RUN true\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in:\n%s", want, &out)
			}
		}
		if n := strings.Count(out.String(), "[mab]"); n != 2 {
			t.Errorf("%d steps of mab's own, want 2:\n%s", n, &out)
		}
	})
	t.Run("notes stay in their order", func(t *testing.T) {
		var out strings.Builder
		d, err := solver.NewDisplay(&out, "plain")
		if err != nil {
			t.Fatal(err)
		}
		stop, want, lines := d.Open(), "", []string{}
		for i := range 9 {
			lines = append(lines, fmt.Sprint("line ", i))
			want += fmt.Sprintf("#%d [mab] line %d\n#%d DONE 0.0s\n\n", i+1, i, i+1)
		}
		d.Note(lines)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()+"\n"); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("the end does not overtake a note", func(t *testing.T) {
		for range 20 {
			var out strings.Builder
			d, err := solver.NewDisplay(&out, "plain")
			if err != nil {
				t.Fatal(err)
			}
			status := make(chan *client.SolveStatus)
			close(status)
			d.Note([]string{"first line"})
			if err := d.Follow(status); err != nil || !strings.Contains(out.String(), " first line\n") {
				t.Fatalf("error %v; the note is not in %q", err, &out)
			}
		}
	})
	t.Run("without a display everything is read all the same", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var d *solver.Display
			d.Note([]string{"a"})
			status := make(chan *client.SolveStatus)
			go build(status)
			if err := d.Follow(status); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestShow(t *testing.T) {
	failure := errors.New("refused")
	show := func(t *testing.T, end error) string {
		t.Helper()
		var out strings.Builder
		d, err := solver.NewDisplay(&out, "plain")
		if err != nil {
			t.Fatal(err)
		}
		err = d.Show(t.Context(), "loading", func(_ context.Context, tell solver.Progress) error {
			for done := range int64(1 << 16) {
				tell("sending", done, 1<<16)
			}
			tell("sending", 1<<16, 1<<16)
			return end
		})
		if !errors.Is(err, end) {
			t.Errorf("got %v, want %v", err, end)
		}
		return out.String()
	}
	t.Run("the step, its bytes and its end are shown, not every report", func(t *testing.T) {
		got := show(t, nil)
		for _, want := range []string{"#1 [mab] loading\n", "#1 sending 65.54kB / 65.54kB", "done\n", "#1 DONE"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in\n%s", want, got)
			}
		}
		if strings.Count(got, "\n") > 50 {
			t.Errorf("too much:\n%s", got)
		}
	})
	t.Run("so is a failure", func(t *testing.T) {
		if got := show(t, failure); !strings.Contains(got, "#1 ERROR: refused") {
			t.Errorf("got\n%s", got)
		}
	})
	t.Run("nobody looks", func(t *testing.T) {
		var none *solver.Display
		if err := none.Show(t.Context(), "loading", func(_ context.Context, tell solver.Progress) error {
			tell("sending", 1, 2)
			return failure
		}); !errors.Is(err, failure) {
			t.Errorf("got %v", err)
		}
	})
}
