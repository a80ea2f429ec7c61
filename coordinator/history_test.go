// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// took is a record of a native build of linux/arm64.
func took(node string, seconds, cached float64) coordinator.Record {
	return coordinator.Record{
		Platform: platforms.MustParse("arm64"), Node: node, URL: "ssh://" + node, Strategy: crossbuild.Native, Seconds: seconds, Cached: cached,
		When: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
	}
}

func TestHistory(t *testing.T) {
	pi, arm64 := nodes.Entry{Name: "renamed", URL: "ssh://pi"}, platforms.MustParse("arm64")
	for _, test := range []struct {
		rule    string
		records []coordinator.Record
		want    float64
		last    string
	}{
		{"nothing is known of what was never built", nil, 0, ""},
		{"one measurement is the answer", []coordinator.Record{took("pi", 40, 0)}, 40, "pi"},
		{"a newer one counts as much as all before", []coordinator.Record{took("pi", 40, 0), took("pi", 20, 0), took("pi", 10, 0)}, 20, "pi"},
		{"what came from the cache measures nothing", []coordinator.Record{took("pi", 40, 0.2), took("pi", 1, 1)}, 40, "pi"},
		{"other nodes measure themselves", []coordinator.Record{took("pi", 40, 0), took("pc", 9, 0)}, 40, "pc"},
		{"no time is no measurement", []coordinator.Record{took("pi", 0, 0)}, 0, "pi"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			h := coordinator.History{Records: test.records}
			got, ok := h.Seconds(pi, arm64, crossbuild.Native)
			last, found := h.Last(arm64)
			if got != test.want || ok != (test.want > 0) || last.Node != test.last || found != (test.last != "") {
				t.Errorf("got %v, %v, last %q, want %v, last %q", got, ok, last.Node, test.want, test.last)
			}
			_, emulated := h.Seconds(pi, arm64, crossbuild.Emulated)
			_, other := h.Last(platforms.MustParse("amd64"))
			if emulated || other {
				t.Error("another strategy or platform is known, too")
			}
		})
	}
}

func history(t *testing.T, dir string) *coordinator.HistoryFile {
	t.Helper()
	h, err := coordinator.OpenHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func read(t *testing.T, h *coordinator.HistoryFile, key string) []coordinator.Record {
	t.Helper()
	got, err := h.Read(key)
	if err != nil {
		t.Fatal(err)
	}
	return got.Records
}

func add(t *testing.T, h *coordinator.HistoryFile, key string, list ...coordinator.Record) {
	t.Helper()
	if err := h.Add(key, list); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryFile(t *testing.T) {
	t.Run("what was added is read, by its key", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state", "mab")
		h := history(t, dir)
		if got := read(t, h, "one"); len(got) > 0 {
			t.Errorf("new, it has %v", got)
		}
		add(t, h, "one", took("pi", 40, 0), took("pc", 20, 0.25))
		add(t, h, "two", took("one", 1, 0))
		if diff := cmp.Diff([]coordinator.Record{took("pi", 40, 0), took("pc", 20, 0.25)}, read(t, history(t, dir), "one")); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("the newest of a kind are kept, and what came from the cache does not push out what was measured", func(t *testing.T) {
		h := history(t, t.TempDir())
		for i := range 6 {
			add(t, h, "k", took("pi", float64(i+1), 0))
		}
		add(t, h, "k", took("pc", 9, 0))
		for i := range 3 {
			add(t, h, "k", took("pi", float64(i)/10, 1))
		}
		want := []coordinator.Record{took("pi", 3, 0), took("pi", 4, 0), took("pi", 5, 0), took("pi", 6, 0), took("pc", 9, 0), took("pi", 0.2, 1)}
		if diff := cmp.Diff(want, read(t, h, "k")); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("it does not grow without end", func(t *testing.T) {
		dir := t.TempDir()
		h := history(t, dir)
		var many []coordinator.Record
		for i := range 2100 {
			many = append(many, took(fmt.Sprint("n", i), 1, 0))
		}
		add(t, h, "old", many...)
		add(t, h, "new", took("pi", 1, 0))
		old := read(t, h, "old")
		raw, err := os.ReadFile(filepath.Join(dir, "history.jsonl"))
		if err != nil || bytes.Count(raw, []byte("\n")) != 2000 || len(old) != 1999 || old[0].Node != "n101" || len(read(t, h, "new")) != 1 {
			t.Errorf("%d lines, %d old ones, error %v", bytes.Count(raw, []byte("\n")), len(old), err)
		}
	})
	t.Run("builds at once lose nothing", func(t *testing.T) {
		dir := t.TempDir()
		var group errgroup.Group
		for i := range 16 {
			h := history(t, dir)
			group.Go(func() error { return h.Add("k", []coordinator.Record{took(fmt.Sprint("n", i), 1, 0)}) })
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		if got := read(t, history(t, dir), "k"); len(got) != 16 {
			t.Errorf("%d of 16 are there", len(got))
		}
	})
	t.Run("damage costs the damaged lines", func(t *testing.T) {
		dir := t.TempDir()
		h := history(t, dir)
		add(t, h, "k", took("pi", 1, 0), took("pc", 2, 0))
		path := filepath.Join(dir, "history.jsonl")
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw = append([]byte("\x00\xff k\n{\"key\":\"k\",\"platform\":\"no/such/platform/at/all\"}\n[1]\n"), raw[:len(raw)-9]...)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		add(t, h, "k", took("new", 3, 0))
		if diff := cmp.Diff([]coordinator.Record{took("pi", 1, 0), took("new", 3, 0)}, read(t, h, "k")); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("a place that cannot be written to is an error at once", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := coordinator.OpenHistory(file); err == nil {
			t.Error("it was opened")
		}
	})
}

func TestBuildKey(t *testing.T) {
	key := func(context, file, target, tag string) string {
		return coordinator.BuildKey(coordinator.Request{Request: solver.Request{Context: context, File: file, Target: target}, Tags: []string{tag}})
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const repo = "https://example.org/app.git"
	for _, test := range []struct {
		rule string
		a, b string
		same bool
	}{
		{"the current directory has several names", key("", "", "", "app"), key(here, "", "", "app"), true},
		{"so has a Dockerfile", key(".", "Dockerfile.x", "", "app"), key(".", "./Dockerfile.x", "", "app"), true},
		{"another context", key(".", "", "", "app"), key("..", "", "", "app"), false},
		{"another Dockerfile", key(".", "a", "", "app"), key(".", "b", "", "app"), false},
		{"another stage", key(".", "", "a", "app"), key(".", "", "b", "app"), false},
		{"another repository", key(".", "", "", "app"), key(".", "", "", "other"), false},
		{"another tag", key(".", "", "", "app:1"), key(".", "", "", "docker.io/library/app:2"), true},
		{"another commit and another token", key(repo+"#v1:dir", "", "", "app"), key("https://me:secret@example.org/app.git?x=1#v2:dir", "", "", "app"), true},
		{"another directory of a repository", key(repo+"#v1:dir", "", "", "app"), key(repo+"#v1", "", "", "app"), false},
		{"a commit of a repository by ssh", key("git@example.org:app.git#a", "", "", "app"), key("git@example.org:app.git#b", "", "", "app"), true},
		{"a commit of a repository of GitHub", key("github.com/a/b#v1", "", "", "app"), key("github.com/a/b#v2", "", "", "app"), true},
		{"another repository by ssh", key("git@example.org:app.git", "", "", "app"), key("git@example.org:other.git", "", "", "app"), false},
		{"standard input is no directory", key("-", "", "", "app"), key("./-", "", "", "app"), false},
		{"parts do not run into each other", key(".", "", "ab", "c"), key(".", "", "a", "bc"), false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if (test.a == test.b) != test.same || len(test.a) != 24 {
				t.Errorf("got %s and %s, want the same: %v", test.a, test.b, test.same)
			}
		})
	}
	if none, one := coordinator.BuildKey(coordinator.Request{}), key("", "", "", "!"); none == one {
		t.Error("a tag that is none is not told from no tag")
	}
}
