// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/farm"
)

// chance is a step's line that makes /out/id, which is another one each time it runs.
const chance = "mkdir -p /out && head -c 16 /dev/urandom | md5sum > /out/id"

// idContext is a context whose shared stage makes an id by chance and counts as NAME/shared, and of which each platform has a step of its
// own that counts as NAME/each. Lines of more come after the shared stage's.
func (l *splitLab) idContext(name string, more ...string) string {
	l.t.Helper()
	lines := slices.Concat([]string{
		"FROM --platform=$BUILDPLATFORM " + registry(l.t) + "/busybox AS shared",
		"RUN " + l.hit(name+"/shared") + " && " + chance,
	}, more, []string{
		"FROM " + registry(l.t) + "/busybox",
		"COPY --from=shared /out/id /id",
		"RUN " + l.hit(name+"/each") + " && uname -m > /arch",
	})
	return l.context(map[string]string{"Dockerfile": strings.Join(lines, "\n") + "\n"})
}

// sameID fails the test unless all platforms of an index have the same /id, which it returns, and what correct wants.
func sameID(t testing.TB, ref, platforms string) string {
	t.Helper()
	correct(t, ref, platforms)
	index, first := pull(t, ref), ""
	for p := range strings.SplitSeq(platforms, ",") {
		id := rootfsOf(t, imageOf(t, index, p)).text(t, "id")
		if first == "" {
			first = id
		}
		if id != first || id == "" {
			t.Errorf("%s has the id %q, others %q", p, id, first)
		}
	}
	return first
}

// counted fails the test unless names were asked for so often.
func (l *splitLab) counted(want map[string]int) {
	l.t.Helper()
	got := map[string]int{}
	for name := range want {
		got[name] = l.count(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Errorf("how often steps ran (-want +got):\n%s", diff)
	}
}

// vertex is a step in the progress that a solver's history keeps.
type vertex struct {
	Digest, Name, Started, Completed string
	Cached                           bool
}

// isStep is the name of a step of a Dockerfile that runs a program.
var isStep = regexp.MustCompile(`^\[[^\]]*\] RUN `)

// ranOn are the names of the steps that a host's solver ran, and did not find in its cache, as its own history tells; each as often as it ran.
func ranOn(t testing.TB, buildctl string, h *farm.Host) []string {
	t.Helper()
	query := func(args ...string) string {
		return outputOf(t, exec.CommandContext(t.Context(), buildctl, append([]string{"--addr", "unix://" + h.Root() + "/run/mab/solver.sock", "debug"}, args...)...))
	}
	seen := map[vertex]bool{}
	var out []string
	for ref := range strings.FieldsSeq(query("histories", "--format", "{{.Record.Ref}}")) {
		for line := range strings.Lines(query("logs", "--progress", "rawjson", ref)) {
			for _, v := range decode[struct{ Vertexes []vertex }](t, line).Vertexes {
				// Solves that wait for the same step all tell of it.
				if v.Completed == "" || v.Cached || seen[v] || !isStep.MatchString(v.Name) {
					continue
				}
				seen[v] = true
				out = append(out, v.Name)
			}
		}
	}
	return out
}

// TestSplitOnce: what platforms share is made once, wherever they are built.
func TestSplitOnce(t *testing.T) {
	l := newSplitLab(t, hosts("one", "two", "three")...)
	buildctl := tool(t, "github.com/moby/buildkit/cmd/buildctl")
	const platforms = "linux/amd64,linux/arm64,linux/s390x"
	for _, test := range []struct {
		rule  string
		nodes []string
		args  []string
		// shared and each are how often the steps have run after a second build.
		shared, each int
	}{
		{"two nodes", []string{"one", "two"}, nil, 1, 3},
		{"three nodes", []string{"one", "two", "three"}, nil, 1, 3},
		{"two nodes --no-cache", []string{"one", "two"}, []string{"--no-cache"}, 2, 6},
		{"three nodes --no-cache", []string{"one", "two", "three"}, []string{"--no-cache"}, 2, 6},
		// Whoever takes it from another node knows what is copied by what it is, and so the others do: all have the new one.
		{"three nodes --no-cache-filter", []string{"one", "two", "three"}, []string{"--no-cache-filter", "shared"}, 2, 6},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			name := strings.ReplaceAll(test.rule, " ", "")
			dir := l.idContext(name)
			args := append(l.farmBuild(registry(t)+"/split/once:1", platforms, dir, "--node", strings.Join(test.nodes, ",")), test.args...)
			first := sameID(t, l.pushed(args...), platforms)
			if len(l.nodesOf()) < 2 {
				t.Errorf("all was built on %v", l.nodesOf())
			}
			l.counted(map[string]int{name + "/shared": 1, name + "/each": 3})
			second := sameID(t, l.pushed(args...), platforms)
			if again := test.each > 3; (first != second) != again {
				t.Errorf("first the id is %q, then %q", first, second)
			}
			l.counted(map[string]int{name + "/shared": test.shared, name + "/each": test.each})
		})
	}
	t.Run("as the nodes' own histories tell", func(t *testing.T) {
		count := map[string]int{}
		for _, host := range []string{"one", "two", "three"} {
			for _, name := range ranOn(t, buildctl, l.Host(host)) {
				if strings.Contains(name, "threenodes/shared") {
					count["shared"]++
				}
				if strings.Contains(name, "threenodes/each") {
					count["each"]++
				}
			}
		}
		if diff := cmp.Diff(map[string]int{"shared": 1, "each": 3}, count); diff != "" {
			t.Errorf("how often steps ran (-want +got):\n%s", diff)
		}
	})
	t.Run("--no-split", func(t *testing.T) {
		l := l.on(t)
		pushed := l.pushed(l.farmBuild(registry(t)+"/split/unsplit:1", platforms, l.idContext("unsplit"), "--node=one,two,three", "--no-split")...)
		correct(t, pushed, platforms)
		if got, want := l.count("unsplit/shared"), len(l.nodesOf()); got != want {
			t.Errorf("the shared step ran %d times on %d nodes", got, want)
		}
	})
	t.Run("one node", func(t *testing.T) {
		l := l.on(t)
		sameID(t, l.pushed(l.farmBuild(registry(t)+"/split/alone:1", platforms, l.idContext("alone"), "--node=two", "--no-cache")...), platforms)
		l.counted(map[string]int{"alone/shared": 1, "alone/each": 3})
	})
	t.Run("nothing is left", func(t *testing.T) {
		for _, name := range []string{"one", "two", "three"} {
			quiet(t, l.Host(name))
		}
	})
}

// sizeOf is how many bytes have gone over the links of hosts.
func (l *splitLab) sizeOf(names ...string) int64 {
	var sum int64
	for _, name := range names {
		received, sent := l.Host(name).Traffic()
		sum += received + sent
	}
	return sum
}

// TestSplitTravel: what travels is what is copied, once.
func TestSplitTravel(t *testing.T) {
	l := newSplitLab(t, hosts("one", "two", "three")...)
	const platforms = "linux/amd64,linux/arm64,linux/s390x"
	names := []string{"one", "two", "three"}
	for _, name := range names {
		l.must("build", "--platform", platforms, l.archContext("warm", ""), "--node", name)
	}
	// 10 MB of what each platform copies, and 20 MB that nobody does.
	name := "travel"
	dir := l.context(map[string]string{"Dockerfile": `FROM --platform=$BUILDPLATFORM ` + registry(t) + `/busybox AS shared
RUN ` + l.hit(name+"/shared") + ` && ` + chance + ` && head -c 10000000 /dev/urandom > /out/blob && head -c 20000000 /dev/urandom > /out/large
FROM ` + registry(t) + `/busybox AS use
COPY --from=shared /out/blob /out/id /in/
RUN md5sum < /in/blob > /sum && cp /in/id /id
FROM ` + registry(t) + `/busybox
COPY --from=use /sum /id /
RUN uname -m > /arch
`})
	args := func(l *splitLab) []string {
		return l.farmBuild(registry(t)+"/split/travel:1", platforms, dir, "--node=one,two,three", "--provenance=false")
	}
	var pushed string
	t.Run("each path once to each node", func(t *testing.T) {
		l := l.on(t)
		before := l.sizeOf(names...)
		pushed = l.pushed(args(l)...)
		sameID(t, pushed, platforms)
		others := int64(len(l.nodesOf()) - 1)
		if others < 1 {
			t.Fatalf("all was built on %v", l.nodesOf())
		}
		// From the maker here, and from here to another, for each of them. What goes to the registry is small.
		const blob = 10_000_000
		moved := l.sizeOf(names...) - before
		t.Logf("%d bytes went over the links for %d other nodes: %.3f times what is copied", moved, others, float64(moved)/float64(2*blob*others))
		if most := 2 * blob * others * 11 / 10; moved > most || moved < 2*blob*others {
			t.Errorf("%d bytes went over the links, want %d to %d", moved, 2*blob*others, most)
		}
	})
	t.Run("nothing when nothing changed", func(t *testing.T) {
		l := l.on(t)
		before := l.sizeOf(names...)
		if again := l.pushed(args(l)...); again != pushed {
			t.Errorf("first %s, then %s", pushed, again)
		}
		if moved := l.sizeOf(names...) - before; moved > 1_500_000 {
			t.Errorf("%d bytes went over the links", moved)
		}
		l.counted(map[string]int{name + "/shared": 1})
	})
	t.Run("nor when what each platform does changed", func(t *testing.T) {
		l := l.on(t)
		file := dir + "/Dockerfile"
		sound(t, os.WriteFile(file, []byte(read(t, file)+"RUN echo more > /more\n"), 0o644))
		before := l.sizeOf(names...)
		sameID(t, l.pushed(args(l)...), platforms)
		if moved := l.sizeOf(names...) - before; moved > 1_500_000 {
			t.Errorf("%d bytes went over the links", moved)
		}
		l.counted(map[string]int{name + "/shared": 1})
	})
}
