// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// withAid is a graph whose steps of a platform may be assisted by the programs of another.
func withAid(g *crossbuild.Graph, of, native string) *crossbuild.Graph {
	for i := range g.Steps {
		if s := &g.Steps[i]; s.Platform == platforms.MustParse(of) {
			s.Aids = []crossbuild.Aid{{Toolchain: "go", Image: "golang@sha256:1", Platform: s.Platform, Native: platforms.MustParse(native)}}
		}
	}
	return g
}

func TestAssistedIsPlanned(t *testing.T) {
	assisted := withAid(graph("arm64", "arm64", "arm64"), "arm64", "amd64")
	for _, test := range []struct {
		rule       string
		graph      *crossbuild.Graph
		farm       []string
		allowed    crossbuild.Strategies
		unassisted []string
		want       string
	}{
		{"a node that runs the tools assists", assisted, []string{"a: amd64 (arm64)"}, nil, nil, "a assisted"},
		{"before another emulates", assisted, []string{"z: s390x (arm64)", "a: amd64 (arm64)"}, nil, nil, "a assisted"},
		{"one that is native comes before", assisted, []string{"a: amd64 (arm64)", "pi: arm64"}, nil, nil, "pi native"},
		{"one that does not run the tools emulates", assisted, []string{"z: s390x (arm64)"}, nil, nil, "z emulated"},
		{"a toolchain that is not used any more", assisted, []string{"a: amd64 (arm64)"}, nil, []string{"go"}, "a emulated"},
		{"another one is no matter", assisted, []string{"a: amd64 (arm64)"}, nil, []string{"cc"}, "a assisted"},
		{"what is wholly emulated may be forbidden", assisted, []string{"z: s390x (arm64)", "a: amd64 (arm64)"},
			crossbuild.Strategies{crossbuild.Assisted}, nil, "a assisted"},
		{"a graph without aids is emulated", graph("arm64", "arm64"), []string{"a: amd64 (arm64)"}, nil, nil, "a emulated"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			plan, err := coordinator.NewPlan(coordinator.Situation{
				Graphs: []*crossbuild.Graph{test.graph}, Farm: farm(test.farm...), Allowed: test.allowed, Unassisted: test.unassisted,
			})
			if err != nil {
				t.Fatal(err)
			}
			a := plan.Assignments[0]
			if got := a.Node + " " + a.Strategy.String(); got != test.want {
				t.Errorf("%s: %s", got, a.Why)
			}
			aided := slices.ContainsFunc(a.Steps, func(h crossbuild.Handling) bool { return h.Aid != nil && h.How == crossbuild.RunsAssisted })
			if aided != strings.HasSuffix(test.want, "assisted") {
				t.Errorf("steps: %v", a.Steps)
			}
		})
	}
	if len(assisted.Steps[0].Aids) != 1 {
		t.Error("a plan changed its graph")
	}
}

// Two platforms that run the same, of which one can be assisted, are not taken for one another.
func TestAssistedBesideEmulated(t *testing.T) {
	plan, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("arm64", "arm64"), withAid(graph("arm64", "arm64"), "arm64", "amd64")}, Farm: farm("a: amd64 (arm64)"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range plan.Assignments {
		got = append(got, a.Strategy.String())
	}
	if diff := cmp.Diff([]string{"emulated", "assisted"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What an assisted platform took is not what an emulated one takes.
func TestAssistedIsRememberedApart(t *testing.T) {
	situation := func(aid bool, h coordinator.History) coordinator.Situation {
		g := graph("arm64", "arm64")
		if aid {
			g = withAid(g, "arm64", "amd64")
		}
		return coordinator.Situation{Graphs: []*crossbuild.Graph{g}, Farm: farm("a: amd64 (arm64)"), History: h}
	}
	plan, err := coordinator.NewPlan(situation(true, coordinator.History{}))
	if err != nil {
		t.Fatal(err)
	}
	n := farm("a: amd64 (arm64)")[0]
	h := coordinator.History{Records: coordinator.Records(n, plan.Assignments, 10*time.Second, 0, time.Unix(1, 0))}
	if got, ok := h.Seconds(n.Entry, platforms.MustParse("arm64"), crossbuild.Assisted); !ok || got != 10 {
		t.Errorf("assisted it took %v, %v", got, ok)
	}
	if got, ok := h.Seconds(n.Entry, platforms.MustParse("arm64"), crossbuild.Emulated); ok {
		t.Errorf("emulated it took %v", got)
	}
	var expected []float64
	for _, aid := range []bool{true, false} {
		plan, err := coordinator.NewPlan(situation(aid, h))
		if err != nil {
			t.Fatal(err)
		}
		expected = append(expected, plan.Assignments[0].Expected)
	}
	if expected[1] < 2*expected[0] || expected[0] <= 0 {
		t.Errorf("expected assisted %v s, emulated %v s", expected[0], expected[1])
	}
}

func TestDiffering(t *testing.T) {
	entry := "/root/.cache/go-build/ab/" + strings.Repeat("ab", 32) + "-a"
	made := func(size, when string) string {
		return "v1 " + strings.Repeat("ab", 32) + " " + strings.Repeat("cd", 32) + size + when + "\n"
	}
	base := []tar.Header{{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o755}}
	for _, test := range []struct {
		rule       string
		name       string
		one, other string
		change     func(*tar.Header)
		want       []string
	}{
		{"nothing", "app", "a", "a", nil, nil},
		{"a time", "app", "a", "a", func(h *tar.Header) { h.ModTime = time.Unix(9, 0) }, nil},
		{"a content", "app", "a", "b", nil, []string{"/app"}},
		{"a mode", "app", "a", "a", func(h *tar.Header) { h.Mode = 0o644 }, []string{"/app"}},
		{"an owner", "app", "a", "a", func(h *tar.Header) { h.Uid = 7 }, []string{"/app"}},
		{"a capability", "app", "a", "a", func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01"} }, []string{"/app"}},
		{"a name", "app", "a", "a", func(h *tar.Header) { h.Name = "app2" }, []string{"/app", "/app2"}},
		{"a kind", "app", "", "", func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "a" }, []string{"/app"}},
		{"when a package was compiled", entry, made("  1", "  1700000000000000000"), made("  1", "  1700000000000000001"), nil, nil},
		{"what came of a package", entry, made("  1", "  1700000000000000000"), made("  2", "  1700000000000000000"), nil, []string{entry}},
		{"when the cache was trimmed", "root/.cache/go-build/trim.txt", "1", "2", nil, nil},
		{"telemetry", "root/.config/go/telemetry/local/go.count", "1", "2", nil, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			packed := func(content string, change func(*tar.Header)) *bytes.Buffer {
				var out bytes.Buffer
				w := tar.NewWriter(&out)
				for _, h := range append(slices.Clone(base), tar.Header{Name: test.name, Mode: 0o755, Size: int64(len(content))}) {
					if change != nil && h.Name == test.name {
						change(&h)
					}
					if err := w.WriteHeader(&h); err != nil {
						t.Fatal(err)
					}
					if h.Size > 0 {
						if _, err := io.WriteString(w, content); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				return &out
			}
			got, err := coordinator.Differing(packed(test.one, nil), packed(test.other, test.change))
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}
