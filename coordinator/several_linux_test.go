// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

const (
	// shell is a stage that runs programs.
	shell = "FROM scratch AS shell\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n"
	// chance makes /out/id, which is another one each time it is run.
	chance = "RUN /bin/busybox mkdir /out && /bin/busybox head -c 16 /dev/urandom | /bin/busybox md5sum > /out/id\n"
)

// kitchen is a directory with a Dockerfile, a busybox, and a file that has this text.
func kitchen(t *testing.T, file string, dockerfile ...string) string {
	t.Helper()
	dir := t.TempDir()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "Dockerfile", strings.Join(dockerfile, ""))
	writeFile(t, dir, "busybox", string(program))
	writeFile(t, dir, "file", file)
	return dir
}

// target is a request for the files of a stage.
func target(t *testing.T, name, context, stage string) coordinator.Named {
	t.Helper()
	return coordinator.Named{Name: name, Request: coordinator.Request{
		Request: solver.Request{Context: context, Target: stage, Platforms: []platforms.Platform{platforms.Host()}},
		Outputs: []coordinator.Output{{Type: "local", Dest: filepath.Join(t.TempDir(), "out")}},
	}}
}

// file is one of a target's output; empty if it is not there.
func file(t *testing.T, n coordinator.Named, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.Outputs[0].Dest, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// farms are what several targets are built on.
var farms = []struct {
	name  string
	nodes []string
}{{"one node", []string{"a"}}, {"two nodes", []string{"a", "b"}}}

func build(t *testing.T, c *coordinator.Coordinator, list ...coordinator.Named) []*coordinator.Result {
	t.Helper()
	out, err := c.BuildAll(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSeveralOnce holds that a step which targets have in common is run once for all, and that each gets its own files.
func TestSeveralOnce(t *testing.T) {
	each := func(name string) string {
		return "FROM shell AS " + name + "\nCOPY --from=common /out/id /id\nRUN echo " + name + " > /name\n"
	}
	for _, farm := range farms {
		t.Run(farm.name, func(t *testing.T) {
			c := solvers(t, farm.nodes...)
			dir := kitchen(t, "", shell, "FROM shell AS common\n", chance, each("one"), each("two"), each("three"))
			one, two, three := target(t, "one", dir, "one"), target(t, "two", dir, "two"), target(t, "three", dir, "three")
			results := build(t, c, one, two, three)
			var names []string
			for _, r := range results {
				names = append(names, r.Target)
				text, err := r.Metadata()
				var doc struct {
					Platforms []json.RawMessage `json:"mab.platforms"`
				}
				if err := errors.Join(err, json.Unmarshal(text, &doc)); err != nil || len(doc.Platforms) != 1 {
					t.Errorf("the metadata of %s tells of %d platforms, error %v:\n%s", r.Target, len(doc.Platforms), err, text)
				}
			}
			if diff := cmp.Diff([]string{"one", "two", "three"}, names); diff != "" {
				t.Errorf("results: want -, got +:\n%s", diff)
			}
			id := file(t, one, "id")
			for _, n := range []coordinator.Named{one, two, three} {
				if diff := cmp.Diff([]string{id, n.Name + "\n"}, []string{file(t, n, "id"), file(t, n, "name")}); diff != "" || id == "" {
					t.Errorf("%s: want -, got +:\n%s", n.Name, diff)
				}
			}
		})
	}
}

// TestSeveralDirectories holds that directories of one name are told apart, also where what is made of them runs programs.
func TestSeveralDirectories(t *testing.T) {
	for _, farm := range farms {
		t.Run(farm.name, func(t *testing.T) {
			c := solvers(t, farm.nodes...)
			lines := []string{
				shell, "FROM shell AS made\nCOPY file /file\nRUN --mount=type=bind,from=more,target=/more /bin/busybox cat /file /more/file > /both\n",
				"FROM scratch\nCOPY --from=made /both /file /\n",
			}
			var list []coordinator.Named
			for _, name := range []string{"one", "two"} {
				n := target(t, name, kitchen(t, name+" main\n", lines...), "")
				n.NamedContexts = []string{"more=" + kitchen(t, name+" more\n")}
				list = append(list, n)
			}
			build(t, c, list...)
			for _, n := range list {
				want := []string{n.Name + " main\n" + n.Name + " more\n", n.Name + " main\n"}
				if diff := cmp.Diff(want, []string{file(t, n, "both"), file(t, n, "file")}); diff != "" {
					t.Errorf("%s: want -, got +:\n%s", n.Name, diff)
				}
			}
		})
	}
}

// TestLinked holds that a context which is another target's result is that very result, with its config, and made once; and that the other's
// directories and secrets are there where it is made.
func TestLinked(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, farm := range farms {
		t.Run(farm.name, func(t *testing.T) {
			c := solvers(t, farm.nodes...)
			base := target(t, "base", kitchen(t, "of the base\n", shell, "COPY file /file\nENV WORD=of-the-base\n",
				"RUN --mount=type=secret,id=word /bin/busybox cat /run/secrets/word > /word\n", chance), "")
			base.Secrets = []string{"id=word,src=" + secret}
			list := []coordinator.Named{}
			for _, name := range []string{"one", "two"} {
				n := target(t, name, kitchen(t, "of "+name+"\n", "FROM base\nCOPY file /own\nRUN echo $WORD > /env\n"), "")
				n.Links = map[string]string{"base": "base"}
				list = append(list, n)
			}
			// The order in which they are given is not that in which they are read.
			build(t, c, append(slices.Clone(list), base)...)
			id := file(t, base, "out/id")
			for _, n := range list {
				want := []string{id, "of the base\n", "of " + n.Name + "\n", "of-the-base\n", "a word\n"}
				got := []string{file(t, n, "out/id"), file(t, n, "file"), file(t, n, "own"), file(t, n, "env"), file(t, n, "word")}
				if diff := cmp.Diff(want, got); diff != "" || id == "" {
					t.Errorf("%s: want -, got +:\n%s", n.Name, diff)
				}
			}
		})
	}
}

// TestSeveralFail holds that nothing of any target is written if one fails, and that the failure names it.
func TestSeveralFail(t *testing.T) {
	for _, farm := range farms {
		for _, keepGoing := range []bool{false, true} {
			t.Run(farm.name+map[bool]string{true: ", keep going"}[keepGoing], func(t *testing.T) {
				c := solvers(t, farm.nodes...)
				dir := kitchen(t, "", shell, "FROM shell AS good\nRUN echo good > /good\nFROM shell AS bad\nRUN echo no >&2; exit 3\n")
				good, bad := target(t, "good", dir, "good"), target(t, "bad", dir, "bad")
				good.KeepGoing, bad.KeepGoing = keepGoing, keepGoing
				_, err := c.BuildAll(t.Context(), []coordinator.Named{good, bad})
				if err == nil || !strings.Contains(err.Error(), "building "+platforms.Host().String()+" of bad on ") {
					t.Errorf("got %v", err)
				}
				if text := file(t, good, "good"); text != "" {
					t.Errorf("the good target was written: %q", text)
				}
			})
		}
	}
}

// TestLinkedPlatforms holds that each platform is made of the other target's result for that platform.
func TestLinkedPlatforms(t *testing.T) {
	both := []platforms.Platform{platforms.MustParse("linux/amd64"), platforms.MustParse("linux/arm64")}
	base := target(t, "base", kitchen(t, "of the base\n", "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n"), "")
	app := target(t, "app", kitchen(t, "of the app\n", "FROM scratch AS files\nCOPY --from=base / /base\nFROM docker.io/library/base:latest\nCOPY --from=files /base /base\n"), "")
	app.Links = map[string]string{"base": "base"}
	app.Platforms, base.Platforms = both, both
	for _, farm := range farms {
		t.Run(farm.name, func(t *testing.T) {
			build(t, solvers(t, farm.nodes...), app, base)
			for _, arch := range []string{"amd64", "arm64"} {
				dir := "linux_" + arch + "/"
				want := []string{"of the base\n", "of the base\n", "of the base\n"}
				if diff := cmp.Diff(want, []string{file(t, app, dir+arch), file(t, app, dir+"base/"+arch), file(t, base, dir+arch)}); diff != "" {
					t.Errorf("%s: want -, got +:\n%s", arch, diff)
				}
				other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[arch]
				if text := file(t, app, dir+other); text != "" {
					t.Errorf("%s has the file of %s", arch, other)
				}
			}
		})
	}
}

// maker takes what a display shows, and finds the node that does what targets share.
type maker struct {
	mu    sync.Mutex
	shown bytes.Buffer
	node  string
	found chan struct{}
}

var sharedOn = regexp.MustCompile(`shared by .* on (\w+): native`)

func (m *maker) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shown.Write(p)
	if at := sharedOn.FindSubmatch(m.shown.Bytes()); at != nil && m.node == "" {
		m.node = string(at[1])
		close(m.found)
	}
	return len(p), nil
}

// TestSeveralLost holds that what a lost node was to do for several targets is done by another, for all of them alike.
func TestSeveralLost(t *testing.T) {
	m := &maker{found: make(chan struct{})}
	display, err := solver.NewDisplay(m, "plain")
	if err != nil {
		t.Fatal(err)
	}
	c, kill := mortal(t, display, "a", "b", "c")
	var once sync.Once
	hits := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			<-m.found
			kill(m.node)
			<-r.Context().Done()
		})
	}))
	defer hits.Close()
	each := func(name string) string {
		return "FROM shell AS " + name + "\nCOPY --from=common /out/id /id\nRUN echo " + name + " > /name\n"
	}
	dir := kitchen(t, "", shell, "FROM shell AS common\n", chance, "RUN /bin/busybox wget -q -O /out/hit "+hits.URL+"\n", each("one"), each("two"), each("three"))
	list := []coordinator.Named{target(t, "one", dir, "one"), target(t, "two", dir, "two"), target(t, "three", dir, "three")}
	results := build(t, c, list...)
	for _, a := range results[0].Plan.Assignments {
		if a.Node == m.node {
			t.Errorf("%s is built on the node that was lost", a.Target)
		}
	}
	if m.node == "" {
		t.Error("no node was lost")
	}
	id := file(t, list[0], "id")
	for _, n := range list {
		if diff := cmp.Diff([]string{id, n.Name + "\n"}, []string{file(t, n, "id"), file(t, n, "name")}); diff != "" || id == "" {
			t.Errorf("%s: want -, got +:\n%s", n.Name, diff)
		}
	}
}

// TestSeveralSecrets holds that a step is not shared by targets that give it different secrets of one id.
func TestSeveralSecrets(t *testing.T) {
	c := solvers(t, "a", "b")
	dir := kitchen(t, "", shell, "RUN --mount=type=secret,id=word /bin/busybox cat /run/secrets/word > /word\n")
	var list []coordinator.Named
	for _, name := range []string{"one", "two"} {
		n := target(t, name, dir, "")
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		n.Secrets = []string{"id=word,src=" + path}
		list = append(list, n)
	}
	plan, err := c.PlanAll(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Portions) > 0 || len(plan.Assignments) != 2 {
		t.Errorf("with different secrets the plan is %q", plan.Lines())
	}
	for _, s := range plan.Shared {
		if s.Step.Runs() {
			t.Errorf("%q is shared", s.Step.Name)
		}
	}
	list[1].Secrets = list[0].Secrets
	build(t, c, list...)
	if got := []string{file(t, list[0], "word"), file(t, list[1], "word")}; !slices.Equal(got, []string{"one", "one"}) {
		t.Errorf("with the same secret the targets have %q", got)
	}
}
