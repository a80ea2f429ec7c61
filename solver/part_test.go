// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/solver"
)

// places writes down caches as type:place, with the first attribute of these that is there.
func places(entries []client.CacheOptionsEntry, root string) (out []string) {
	for _, e := range entries {
		place := e.Type
		for _, name := range []string{"ref", "src", "dest"} {
			if v := e.Attrs[name]; v != "" {
				place += ":" + strings.TrimPrefix(v, root)
			}
		}
		out = append(out, place)
	}
	return out
}

func TestSplitCaches(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"all", "all/linux-arm64", "parts/linux-arm64", "parts/linux-arm-v7", "empty"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if dir == "parts/linux-arm-v7" || dir == "empty" {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, dir, "index.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	whole := list(t, "linux/amd64", "linux/arm64", "linux/arm/v7")
	for _, test := range []struct {
		rule     string
		from, to string
		// part is what is solved.
		part        []string
		wantFrom    string
		wantTo      string
		unsplit     bool
		wantRefused bool
	}{
		{rule: "a tag for each platform, all are read", from: "r.example/c:main", to: "r.example/c:main", part: []string{"linux/arm64"},
			wantFrom: "registry:r.example/c:main registry:r.example/c:main-linux-amd64 registry:r.example/c:main-linux-arm64 registry:r.example/c:main-linux-arm-v7" +
				" registry:r.example/c:main-shared registry:r.example/c:main-shared-2 registry:r.example/c:main-shared-3 registry:r.example/c:main-private-linux-amd64 registry:r.example/c:main-private-linux-arm64 registry:r.example/c:main-private-linux-arm-v7",
			wantTo: "registry:r.example/c:main-linux-arm64"},
		{rule: "without a tag it is the latest", to: "type=registry,ref=localhost:5000/c", part: []string{"linux/amd64", "linux/arm/v7"},
			wantTo: "registry:localhost:5000/c:latest-linux-amd64 registry:localhost:5000/c:latest-linux-arm-v7"},
		{rule: "a digest is read, and cannot be written", from: "r.example/c@sha256:" + strings.Repeat("0", 64), part: []string{"linux/amd64"},
			wantFrom: "registry:r.example/c@sha256:" + strings.Repeat("0", 64)},
		{rule: "a digest", to: "r.example/c@sha256:" + strings.Repeat("0", 64), part: []string{"linux/amd64"}, wantRefused: true},
		{rule: "a tag that would be too long", to: "r.example/c:" + strings.Repeat("a", 120), part: []string{"linux/amd64"}, wantRefused: true},
		{rule: "what is no reference", to: "type=registry,ref=r.example/UPPER", part: []string{"linux/amd64"}, wantRefused: true},
		{rule: "a directory for each platform", to: "type=local,dest=" + root + "/c", part: []string{"linux/arm64"}, wantTo: "local:/c/linux-arm64"},
		{rule: "directories are read where they are", from: "type=local,src=" + root + "/all", part: []string{"linux/amd64"}, wantFrom: "local:/all local:/all/linux-arm64"},
		{rule: "the one above need not be one", from: "type=local,src=" + root + "/parts", part: []string{"linux/amd64"}, wantFrom: "local:/parts/linux-arm64"},
		{rule: "where there is none BuildKit says so", from: "type=local,src=" + root + "/empty", part: []string{"linux/amd64"}, wantFrom: "local:/empty"},
		{rule: "what is inside the image stays", to: "type=inline", part: []string{"linux/amd64", "linux/arm64"}, wantTo: "inline"},
		{rule: "without platforms nothing is split", to: "r.example/c", wantTo: "registry:r.example/c"},
		{rule: "where one node writes all, it is one, but all are read", from: "r.example/c:1", to: "r.example/c", part: []string{"linux/arm64"}, unsplit: true,
			wantFrom: "registry:r.example/c:1 registry:r.example/c:1-linux-amd64 registry:r.example/c:1-linux-arm64 registry:r.example/c:1-linux-arm-v7" +
				" registry:r.example/c:1-shared registry:r.example/c:1-shared-2 registry:r.example/c:1-shared-3 registry:r.example/c:1-private-linux-amd64 registry:r.example/c:1-private-linux-arm64 registry:r.example/c:1-private-linux-arm-v7",
			wantTo: "registry:r.example/c"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			request := solver.Request{Context: root, Platforms: list(t, test.part...)}
			if test.from != "" {
				request.CacheFrom = []string{test.from}
			}
			if test.to != "" {
				request.CacheTo = []string{test.to}
			}
			if err := os.WriteFile(filepath.Join(root, "Dockerfile"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			opt, err := (&solver.Solve{Request: &request, Whole: whole, SplitCaches: !test.unsplit}).Options()
			if test.wantRefused {
				checkUsage(t, err, "--cache-to: ")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(test.wantFrom), append([]string{}, places(opt.CacheImports, root)...)); diff != "" {
				t.Errorf("from: want -, got +:\n%s", diff)
			}
			if diff := cmp.Diff(strings.Fields(test.wantTo), append([]string{}, places(opt.CacheExports, root)...)); diff != "" {
				t.Errorf("to: want -, got +:\n%s", diff)
			}
			for _, e := range opt.CacheExports {
				if e.Type != "inline" && e.Attrs["mode"] != "min" {
					t.Errorf("%v lost its mode", e)
				}
			}
		})
	}
}

// TestPart has a part of a build come out as it would in the whole.
func TestPart(t *testing.T) {
	tree(t, "Dockerfile")
	one, two := list(t, "linux/arm64"), list(t, "linux/amd64", "linux/arm64")
	given := attrs{"annotation-manifest[linux/amd64].a": "1", "annotation-manifest[linux/arm64].b": "2", "annotation[linux/arm64].c": "3",
		"annotation-manifest[linux/s390x].d": "4", "annotation.e": "5"}
	for _, test := range []struct {
		rule         string
		solve        solver.Solve
		multi, split string
	}{
		{"one platform alone", solver.Solve{Request: &solver.Request{Platforms: one}}, "", ""},
		{"several", solver.Solve{Request: &solver.Request{Platforms: two}}, "true", "true"},
		{"one of several", solver.Solve{Request: &solver.Request{Platforms: one}, Whole: two}, "true", "true"},
		{"all of one", solver.Solve{Request: &solver.Request{Platforms: one}, Whole: one}, "", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.solve.Exports = []solver.Export{
				{Type: "local", Dir: "a"}, {Type: "tar", Attrs: attrs{"platform-split": "false"}}, {Type: "image", Attrs: given},
			}
			opt, err := test.solve.Options()
			if err != nil {
				t.Fatal(err)
			}
			got := []string{opt.FrontendAttrs["multi-platform"], opt.Exports[0].Attrs["platform-split"], opt.Exports[1].Attrs["platform-split"]}
			if diff := cmp.Diff([]string{test.multi, test.split, "false"}, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			want := maps.Clone(given)
			if slices.Equal(test.solve.Whole, two) {
				delete(want, "annotation-manifest[linux/amd64].a")
			}
			if diff := cmp.Diff(want, opt.Exports[2].Attrs); diff != "" || len(given) != 5 {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// TestMissingCaches has caches of platforms that nobody wrote be no errors. The texts are those of BuildKit v0.33.1.
func TestMissingCaches(t *testing.T) {
	const missing = "failed to configure registry cache importer: r.example/c:1-linux-arm64: not found"
	now := time.Now()
	for _, test := range []struct {
		rule, name, err string
		want            string
		logs            int
	}{
		{"one that was not written yet", "importing cache manifest from r.example/c:1-linux-arm64", missing, "", 1},
		{"one that cannot be reached", "importing cache manifest from r.example/c:1", "dial tcp: no such host", "dial tcp: no such host", 0},
		{"what is no cache", "[1/2] FROM r.example/c", missing, missing, 0},
	} {
		t.Run(test.rule, func(t *testing.T) {
			vertex := &client.Vertex{Digest: digest.FromString("a"), Name: test.name, Error: test.err, Started: &now, Completed: &now}
			status := &client.SolveStatus{Vertexes: []*client.Vertex{vertex}}
			(&solver.Solve{}).See(status)
			if vertex.Error != test.want || len(status.Logs) != test.logs {
				t.Errorf("got %q and %d lines", vertex.Error, len(status.Logs))
			}
			for _, l := range status.Logs {
				if l.Vertex != vertex.Digest || string(l.Data) != "not there yet\n" {
					t.Errorf("got %+v", l)
				}
			}
		})
	}
}
