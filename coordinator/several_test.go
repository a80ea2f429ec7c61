// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// TestSeveralUsage holds what is wrong with requests by how they are put together. Nothing is started.
func TestSeveralUsage(t *testing.T) {
	dir := t.TempDir()
	named := func(name string, links ...string) coordinator.Named {
		n := coordinator.Named{Name: name, Request: coordinator.Request{Request: solver.Request{Context: dir}}}
		for _, l := range links {
			if n.Links == nil {
				n.Links = map[string]string{}
			}
			n.Links["of-"+l] = l
		}
		return n
	}
	with := func(n coordinator.Named, change func(*coordinator.Request)) coordinator.Named {
		change(&n.Request)
		return n
	}
	stdout := func(r *coordinator.Request) { r.Outputs = []coordinator.Output{{Type: "tar", Dest: "-"}} }
	for _, test := range []struct {
		rule string
		list []coordinator.Named
		want string
	}{
		{"nothing", nil, "building: there is nothing to build"},
		{"no name", []coordinator.Named{named("a"), named("")}, "building several targets: one has no name"},
		{"one name twice", []coordinator.Named{named("a"), named("b"), named("a")}, "building several targets: two are named a"},
		{"a link to nothing", []coordinator.Named{named("a", "b")}, `target a: its context "of-b" is the result of target "b", which is not built`},
		{"a link to itself", []coordinator.Named{named("a", "a")}, "building several targets: a is made of its own result: a of a"},
		{"a circle", []coordinator.Named{named("x", "a"), named("a", "b"), named("b", "c"), named("c", "a")},
			"building several targets: a is made of its own result: a of b of c of a"},
		{"different plans", []coordinator.Named{named("a"), with(named("b"), func(r *coordinator.Request) { r.NoSplit = true })},
			"building several targets: b is to be planned in another way than a"},
		{"two that want standard output", []coordinator.Named{with(named("a"), stdout), named("b"), with(named("c"), stdout)},
			"building several targets: a and c both have an output that goes to standard output"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, err := coordinator.New(coordinator.Config{}).BuildAll(t.Context(), test.list)
			_, planned := coordinator.New(coordinator.Config{}).PlanAll(t.Context(), test.list)
			for _, err := range []error{err, planned} {
				var wrong interface{ Usage() bool }
				if err == nil || err.Error() != test.want || !errors.As(err, &wrong) {
					t.Errorf("got %v, want %s", err, test.want)
				}
			}
		})
	}
}

// TestDistinguish holds how sources of one name are told apart, and when secrets cannot be.
func TestDistinguish(t *testing.T) {
	app, lib := kitchenless(t), kitchenless(t)
	named := func(name, context string, contexts ...string) coordinator.Named {
		return coordinator.Named{Name: name, Request: coordinator.Request{Request: solver.Request{Context: context, NamedContexts: contexts}}}
	}
	secret := func(n coordinator.Named, entry string, links ...string) coordinator.Named {
		n.Secrets, n.Links = []string{entry}, map[string]string{}
		for _, l := range links {
			n.Links[l] = l
		}
		return n
	}
	t.Setenv("A", "a")
	t.Setenv("B", "b")
	type names map[string]string
	for _, test := range []struct {
		rule  string
		list  []coordinator.Named
		want  []map[string]string
		error string
	}{
		{"one directory keeps its name", []coordinator.Named{named("a", app), named("b", app)}, []map[string]string{{}, {}}, ""},
		{"two get a number each", []coordinator.Named{named("a", app), named("b", lib), named("c", app)},
			[]map[string]string{names{"context": "context@1"}, names{"context": "context@2"}, names{"context": "context@1"}}, ""},
		{"so do named ones, each by its name", []coordinator.Named{named("a", app, "x="+app, "y="+app), named("b", app, "x="+lib, "z="+lib)},
			[]map[string]string{names{"x": "x@1"}, names{"x": "x@2"}}, ""},
		{"secrets may differ", []coordinator.Named{secret(named("a", app), "id=s,env=A"), secret(named("b", app), "id=s,env=B")}, []map[string]string{{}, {}}, ""},
		{"but not of a target and what it is made of", []coordinator.Named{
			secret(named("a", app), "id=s,env=A", "b"), secret(named("b", app), "id=t,env=B", "c"), secret(named("c", app), "id=s,env=B"),
		}, nil, `target a: it is made of target c, and the two have different sources for the secret "s"`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := coordinator.LocalNames(t.Context(), test.list)
			if test.error != "" {
				if err == nil || err.Error() != test.error {
					t.Errorf("got %v, want %s", err, test.error)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}

// kitchenless is a directory with a Dockerfile.
func kitchenless(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "Dockerfile", "FROM scratch\n")
	return dir
}

func writeFile(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// alone is a graph whose steps no other has.
func alone(target, name string, runs ...string) *crossbuild.Graph {
	g := graph(target, runs...)
	for i := range g.Steps {
		g.Steps[i].Digest = digest.FromString(name + g.Steps[i].Name)
		g.Steps[i].Identity = g.Steps[i].Digest
	}
	return g
}

// TestPlanOfSeveral holds where the platforms of several requests go, and what is said of them.
func TestPlanOfSeveral(t *testing.T) {
	arm64, amd64 := platforms.MustParse("arm64"), platforms.MustParse("amd64")
	pis := farm("pi: arm64", "pi2: arm64")
	for _, test := range []struct {
		rule    string
		graphs  []*crossbuild.Graph
		targets []string
		farm    []nodes.Node
		without []coordinator.Exclusion
		history []coordinator.Record
		want    []string
	}{
		{"each is named", []*crossbuild.Graph{alone("arm64", "app", "arm64"), alone("arm64", "web", "arm64")}, []string{"app", "web"}, pis, nil, nil, []string{
			"linux/arm64 of app on pi: native, the node runs linux/arm64 natively: 1 RUN step; its slot is free",
			"linux/arm64 of web on pi2: native, the node runs linux/arm64 natively: 1 RUN step; its slot is free",
		}},
		{"programs of their own platform that two have in common bring them together",
			[]*crossbuild.Graph{graph("arm64", "arm64"), alone("arm64", "x", "arm64"), graph("arm64", "arm64")}, []string{"app", "x", "web"}, pis, nil, nil, []string{
				"linux/arm64 of app on pi: native, the node runs linux/arm64 natively: 1 RUN step; its slot is free",
				"linux/arm64 of x on pi2: native, the node runs linux/arm64 natively: 1 RUN step; its slot is free",
				"linux/arm64 of web on pi: native, the node runs linux/arm64 natively: 1 RUN step; it has RUN steps in common with linux/arm64 of app",
			}},
		{"but not on a node that may not have one of them", []*crossbuild.Graph{graph("arm64", "arm64"), graph("arm64", "arm64")}, []string{"app", "web"}, pis,
			[]coordinator.Exclusion{{Node: "pi", Any: true, Platform: arm64, Target: "web", Why: "it does not reach what the build is made from"}}, nil, []string{
				"linux/arm64 of app on pi: native, the node runs linux/arm64 natively: 1 RUN step; its slot is free",
				"linux/arm64 of web on pi2: native, the node runs linux/arm64 natively: 1 RUN step; pi is not used: it does not reach what the build is made from",
			}},
		{"each has a history of its own", []*crossbuild.Graph{alone("amd64", "app", "amd64"), alone("amd64", "web", "amd64")}, []string{"app", "web"},
			farm("a: amd64", "b: amd64"), nil, []coordinator.Record{
				{Target: "app", Platform: amd64, Node: "b", URL: "ssh://b", Strategy: crossbuild.Native, Seconds: 100, Cached: 0.1},
				{Target: "web", Platform: amd64, Node: "a", URL: "ssh://a", Strategy: crossbuild.Native, Seconds: 10, Cached: 0.1},
			}, []string{
				"linux/amd64 of app on b: native, the node runs linux/amd64 natively: 1 RUN step; expected 50 s here, which built it last, 100 s on a",
				"linux/amd64 of web on a: native, the node runs linux/amd64 natively: 1 RUN step; expected 5.0 s here, which built it last, 62 s on b (1 platform of this build)",
			}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			for i := range test.farm {
				test.farm[i].URL, test.farm[i].Slots = "ssh://"+test.farm[i].Name, 1
			}
			plan, err := coordinator.NewPlan(coordinator.Situation{
				Graphs: test.graphs, Targets: test.targets, Farm: test.farm, Without: test.without, History: coordinator.History{Records: test.history},
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, plan.Lines()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// TestPortionsOfSeveral holds that what is done apart is that of the requests that it is for.
func TestPortionsOfSeveral(t *testing.T) {
	web := programs("amd64 npm build")
	s := divided(farm("pc: amd64", "pi: arm64"),
		parted{"arm64", web, []string{"amd64 go build app"}, []string{"arm64 apk add app"}}, parted{"arm64", web, []string{"amd64 go build web"}, []string{"arm64 apk add web"}})
	s.Targets = []string{"app", "web"}
	for i := range s.Farm {
		s.Farm[i].Slots = 4
	}
	plan, err := coordinator.NewPlan(s)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range plan.Portions {
		got = append(got, string(p.Kind)+" "+p.Node+" "+strings.Join(p.Targets, ","))
	}
	if diff := cmp.Diff([]string{"shared pc app,web", "private pc app", "private pc web"}, got); diff != "" {
		t.Errorf("portions: want -, got +:\n%s", diff)
	}
	want := crossbuild.Places{Home: []string{"pi", "pi"}, Shared: "pc", Private: []string{"pc", "pc"}}
	if diff := cmp.Diff(want, plan.Places(s.Graphs)); diff != "" {
		t.Errorf("places: want -, got +:\n%s", diff)
	}
	raw, err := json.Marshal(plan)
	for _, part := range []string{`"target":"app","platform":"linux/arm64"`, `"for":["linux/arm64","linux/arm64"],"targets":["app","web"]`} {
		if err != nil || !strings.Contains(string(raw), part) {
			t.Errorf("error %v, and no %s in %s", err, part, raw)
		}
	}
}

func TestUnbuildableOfSeveral(t *testing.T) {
	_, err := coordinator.NewPlan(coordinator.Situation{
		Graphs: []*crossbuild.Graph{graph("amd64", "amd64"), graph("s390x", "s390x")}, Targets: []string{"app", "web"}, Farm: farm("pc: amd64"),
	})
	if err == nil || !strings.HasPrefix(err.Error(), "no node can build linux/s390x of web: ") {
		t.Errorf("got %v", err)
	}
}

// TestMemoryOfSeveral holds that each request remembers what it took under its own key, and together they remember what they shared.
func TestMemoryOfSeveral(t *testing.T) {
	when := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	amd64 := platforms.MustParse("amd64")
	record := func(target string, kind coordinator.PortionKind, seconds float64) coordinator.Record {
		when = when.Add(time.Second)
		return coordinator.Record{Target: target, Platform: amd64, Portion: kind, Node: "n", URL: "ssh://n", Strategy: crossbuild.Native, Seconds: seconds, When: when}
	}
	state := solver.State{Root: t.TempDir(), Runtime: t.TempDir()}
	app, web := coordinator.Request{Request: solver.Request{Context: "app"}}, coordinator.Request{Request: solver.Request{Context: "web"}}
	both := []coordinator.Named{{Name: "app", Request: app}, {Name: "web", Request: web}}
	one := []coordinator.Named{{Request: app}}
	together := []coordinator.Record{record("app", "", 1), record("web", "", 2), record("web", coordinator.PortionPrivate, 3), record("", coordinator.PortionShared, 4)}
	byItself := []coordinator.Record{record("", "", 5), record("", coordinator.PortionShared, 6)}
	if err := errors.Join(coordinator.Keep(state, both, together), coordinator.Keep(state, one, byItself)); err != nil {
		t.Fatal(err)
	}
	named := func(r coordinator.Record, target string) coordinator.Record {
		r.Target = target
		return r
	}
	for _, test := range []struct {
		rule string
		list []coordinator.Named
		want []coordinator.Record
	}{
		{"together they know what each took, also alone", both, append(together, named(byItself[0], "app"))},
		{"alone it knows what it took with others, but not what it shared with them", one, append([]coordinator.Record{named(together[0], "")}, byItself...)},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.want, coordinator.Recall(state, test.list)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}
