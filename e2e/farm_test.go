// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/farm"
)

// farmLab is a lab whose user has the ssh configuration of a farm's client, and a list of nodes that is empty at first.
type farmLab struct {
	*lab
	*farm.Farm
}

// newFarmLab makes a farm that has the tests' registry. Names are those of hosts that are like any other.
func newFarmLab(t testing.TB, hosts ...farm.HostConfig) *farmLab {
	t.Helper()
	need(t, "ip", "tc", "nsenter", "ssh", "/usr/sbin/sshd")
	l := newLab(t)
	f, err := farm.Start(t.Context(), farm.Config{Registry: registry(t), Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range hosts {
				t.Logf("the end of %s's solver log:\n%s", h.Name, tail(f.Host(h.Name).Root()+"/var/lib/mab/solver.log"))
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	l.env = append(l.env, "HOME="+f.Home(), "MAB_NODES=", "MAB_NODES_FILE="+filepath.Join(l.root, "nodes.toml"), "SSH_AUTH_SOCK=")
	return &farmLab{l, f}
}

// tail is the end of a file; empty if there is none.
func tail(path string) string {
	text, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// hosts are configurations of hosts that are like any other.
func hosts(names ...string) []farm.HostConfig {
	out := make([]farm.HostConfig, len(names))
	for i, name := range names {
		out[i] = farm.HostConfig{Name: name}
	}
	return out
}

// on is the lab for a subtest.
func (l *farmLab) on(t testing.TB) *farmLab { return &farmLab{l.lab.on(t), l.Farm} }

// setting is the lab with variables added to its environment.
func (l *farmLab) setting(variables ...string) *farmLab {
	return &farmLab{l.lab.setting(variables...), l.Farm}
}

// node is --node for each host, by the name that messages are to have; a URL or local stays what it is.
func (l *farmLab) node(names ...string) []string {
	var out []string
	for _, name := range names {
		value := name
		if name != "local" && !strings.Contains(name, "://") {
			value = name + "=" + l.Host(name).URL("root")
		}
		out = append(out, "--node", value)
	}
	return out
}

// archContext is a context whose only step of its own writes uname -m to /arch. The text makes it differ from others.
func (l *farmLab) archContext(text, run string) string {
	l.t.Helper()
	if run != "" {
		run = " && " + run
	}
	return l.context(map[string]string{
		"Dockerfile": "FROM " + registry(l.t) + "/busybox\nCOPY salt /salt\nRUN uname -m > /arch" + run + "\n", "salt": text,
	})
}

// farmBuild are the arguments of a build that pushes, and of which report tells afterwards.
func (l *farmLab) farmBuild(ref, platforms string, more ...string) []string {
	args := []string{"build", "--platform", platforms, "-t", ref, "--push", "--metadata-file", filepath.Join(l.dir, "metadata.json")}
	return append(args, more...)
}

// pushed runs a build of farmBuild, which must end well, and returns what it pushed. What it said is shown if the test fails.
func (l *farmLab) pushed(args ...string) string {
	l.t.Helper()
	began := time.Now()
	out := l.mab(args...)
	l.t.Logf("mab %s\nexit code %d after %v\n%s", strings.Join(args, " "), out.code, time.Since(began).Round(10*time.Millisecond), out.stderr)
	if out.code != 0 {
		l.t.FailNow()
	}
	return strings.TrimSpace(out.stdout)
}

// where is the node that built each platform, and by which strategy, as the build that was last says.
func (l *farmLab) where() map[string]string {
	l.t.Helper()
	doc := decode[struct {
		Platforms []struct{ Platform, Node, Strategy string } `json:"mab.platforms"`
	}](l.t, read(l.t, filepath.Join(l.dir, "metadata.json")))
	out := map[string]string{}
	for _, p := range doc.Platforms {
		out[p.Platform] = p.Node + " " + p.Strategy
	}
	return out
}

// nodesOf are the different nodes of where.
func (l *farmLab) nodesOf() []string {
	l.t.Helper()
	used := map[string]bool{}
	for _, how := range l.where() {
		name, _, _ := strings.Cut(how, " ")
		used[name] = true
	}
	return slices.Sorted(maps.Keys(used))
}

// correct fails the test unless the index has exactly the platforms, and each image what its own architecture says of itself.
func correct(t testing.TB, ref, platforms string) {
	t.Helper()
	index := pull(t, ref)
	if diff := cmp.Diff(platforms, platformsOf(t, index)); diff != "" {
		t.Errorf("platforms of the index (-want +got):\n%s", diff)
	}
	for p := range strings.SplitSeq(platforms, ",") {
		image := imageOf(t, index, p)
		if of := configOf(t, image).Platform().String(); of != p {
			t.Errorf("the configuration of %s is for %s", p, of)
		}
		if got := rootfsOf(t, image).text(t, "arch"); got != machineOf(t, p).uname {
			t.Errorf("%s was built on %s", p, got)
		}
	}
}

// said fails the test unless standard error has each of the words.
func said(t testing.TB, out output, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(out.stderr, word) {
			t.Errorf("no %q in:\n%s", word, out.stderr)
		}
	}
}

// isSolver reports whether a line of Leftovers is a solver's.
func isSolver(line string) bool {
	return regexp.MustCompile(`^process \d+ \S*mab\S* serve( |$)`).MatchString(line)
}

// isConnection reports whether a line of Leftovers is that of a connection to sshd.
func isConnection(line string) bool {
	return regexp.MustCompile(`^process \d+ sshd(-session)?: `).MatchString(line)
}

// quiet waits until nothing of builds is left on a host: its solver may stay, as may its files, but no step, no agent, no mount. What sshd
// has for a connection ends when its kernel gives up that one, which is not for mab to say.
func quiet(t testing.TB, h *farm.Host) {
	t.Helper()
	within(t, 20*time.Second, "left on the host", func() string {
		return strings.Join(slices.DeleteFunc(h.Leftovers(), func(line string) bool { return isSolver(line) || isConnection(line) }), "\n")
	})
}

func TestFarm(t *testing.T) {
	l := newFarmLab(t, farm.HostConfig{Name: "one"}, farm.HostConfig{Name: "two"}, farm.HostConfig{Name: "inner", Behind: "one"})
	const three = "linux/amd64,linux/arm64,linux/s390x"
	ref := func(name string) string { return registry(t) + "/farm/" + name + ":1" }
	t.Run("three platforms over two hosts and this machine", func(t *testing.T) {
		l := l.on(t)
		pushed := l.pushed(append(l.farmBuild(ref("spread"), three, l.archContext("spread", "sleep 2")), l.node("one", "two", "local")...)...)
		correct(t, pushed, three)
		if got := l.nodesOf(); len(got) < 2 {
			t.Errorf("all was built on %s", got)
		}
	})
	t.Run("this machine takes no part that is not named", func(t *testing.T) {
		l := l.on(t)
		pushed := l.pushed(append(l.farmBuild(ref("remote"), three, l.archContext("remote", "sleep 2")), l.node("one", "two")...)...)
		correct(t, pushed, three)
		if diff := cmp.Diff([]string{"one", "two"}, l.nodesOf()); diff != "" {
			t.Errorf("nodes (-want +got):\n%s", diff)
		}
	})
	t.Run("a plain user of a host by MAB_NODES", func(t *testing.T) {
		l := l.on(t)
		sub := l.setting("MAB_NODES=pi=" + l.Host("one").URL(farm.User))
		correct(t, sub.pushed(l.farmBuild(ref("user"), "linux/amd64,linux/arm64", l.archContext("user", "chown 9:9 /arch"))...), "linux/amd64,linux/arm64")
		if diff := cmp.Diff([]string{"pi"}, l.nodesOf()); diff != "" {
			t.Errorf("nodes (-want +got):\n%s", diff)
		}
		for _, p := range l.Host("one").Processes() {
			if strings.Contains(p.Line, "home/pi") {
				return
			}
		}
		t.Errorf("no solver of the user's runs: %v", l.Host("one").Processes())
	})
	t.Run("behind a jump host by its name in the configuration of ssh", func(t *testing.T) {
		l := l.on(t)
		correct(t, l.pushed(append(l.farmBuild(ref("jump"), "linux/amd64", l.archContext("jump", "")), "--node", "ssh://inner")...), "linux/amd64")
		if diff := cmp.Diff([]string{"inner"}, l.nodesOf()); diff != "" {
			t.Errorf("nodes (-want +got):\n%s", diff)
		}
	})
	t.Run("without a push blobs come here", func(t *testing.T) {
		l := l.on(t)
		dir := filepath.Join(t.TempDir(), "out")
		l.must(append([]string{"build", "--platform", "linux/amd64,linux/arm64", "-o", dir, l.archContext("local", "")}, l.node("one", "two")...)...)
		for _, p := range []string{"linux/amd64", "linux/arm64"} {
			got := strings.TrimSpace(read(t, filepath.Join(dir, strings.ReplaceAll(p, "/", "_"), "arch")))
			if diff := cmp.Diff(machineOf(t, p).uname, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", p, diff)
			}
		}
	})
	t.Run("the saved list", func(t *testing.T) { farmList(l.on(t)) })
	t.Run("eight builds at once over two equal nodes", func(t *testing.T) { farmBalance(l.on(t)) })
	t.Run("a cache for each platform", func(t *testing.T) { farmCaches(l.on(t)) })
	t.Run("nothing is left", func(t *testing.T) {
		for _, name := range []string{"one", "two", "inner"} {
			quiet(t, l.Host(name))
		}
	})
	t.Run("nodes rm --purge", func(t *testing.T) { farmPurge(l.on(t)) })
}

// listed is a node in the JSON of nodes ls and nodes check.
type listed struct {
	Name, URL string
}

func farmList(l *farmLab) {
	l.must("nodes", "add", "one", l.Host("one").URL("root"))
	l.must("nodes", "add", "two", l.Host("two").URL("root"))
	got := decode[[]listed](l.t, l.must("nodes", "ls", "--json"))
	want := map[string]string{"one": l.Host("one").URL("root"), "two": l.Host("two").URL("root")}
	for _, n := range got {
		if n.Name == "local" {
			continue
		}
		if diff := cmp.Diff(want[n.Name], n.URL); diff != "" {
			l.t.Errorf("%s (-want +got):\n%s", n.Name, diff)
		}
		delete(want, n.Name)
	}
	if len(want) > 0 {
		l.t.Errorf("%v is missing", want)
	}
	ref := registry(l.t) + "/farm/saved:1"
	const four = "linux/amd64,linux/arm64,linux/s390x,linux/riscv64"
	correct(l.t, l.pushed(l.farmBuild(ref, four, l.archContext("saved", "sleep 2"))...), four)
	if got := l.nodesOf(); !slices.Contains(got, "one") && !slices.Contains(got, "two") {
		l.t.Errorf("saved nodes are not used: %v", got)
	}
	if log := l.must("nodes", "logs", "one"); !strings.Contains(log, "solver ready") {
		l.t.Errorf("the log of one:\n%s", log)
	}
	for _, verb := range []string{"inspect", "check"} {
		if text := l.must("nodes", verb, "one", "--json"); !strings.Contains(text, "linux/amd64") || !strings.Contains(text, "native") {
			l.t.Errorf("mab nodes %s: %s", verb, text)
		}
	}
}

// farmBalance builds one platform eight times at once: neither of two equal nodes idles.
func farmBalance(l *farmLab) {
	var builds []*running
	var labs []*farmLab
	for i := range 8 {
		each := l.on(l.t)
		labs = append(labs, each)
		ref := fmt.Sprintf("%s/farm/balance-%d:1", registry(l.t), i)
		args := append(each.farmBuild(ref, "linux/amd64", each.archContext(ref, "sleep 2")), l.node("one", "two")...)
		builds = append(builds, each.start(args...))
	}
	count := map[string]int{}
	for i, b := range builds {
		if out := b.wait(); out.code != 0 {
			l.t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		correct(l.t, fmt.Sprintf("%s/farm/balance-%d:1", registry(l.t), i), "linux/amd64")
		for _, name := range labs[i].nodesOf() {
			count[name]++
		}
	}
	if count["one"] < 2 || count["two"] < 2 || count["one"]+count["two"] != 8 {
		l.t.Errorf("builds by node: %v", count)
	}
}

// farmCaches writes a cache from two nodes at once and has a third read all of it.
func farmCaches(l *farmLab) {
	const two = "linux/amd64,linux/arm64"
	cache := registry(l.t) + "/farm/cache:1"
	dir := l.archContext("cache", "")
	args := l.farmBuild(registry(l.t)+"/farm/cached:1", two, "--cache-to", "type=registry,mode=max,ref="+cache, dir)
	l.pushed(append(args, l.node("one", "two")...)...)
	if got := l.nodesOf(); len(got) != 2 {
		l.t.Logf("the cache is of one node only: %v", got)
	}
	out := l.mab(append([]string{"build", "--platform", two, "--progress", "plain", "--cache-from", "type=registry,ref=" + cache, dir}, l.node("local")...)...)
	if out.code != 0 {
		l.t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	for _, p := range strings.Split(two, ",") {
		step := regexp.MustCompile(`(?m)^(#\d+) \[` + regexp.QuoteMeta(p) + `[^\]]*\] RUN uname`).FindStringSubmatch(out.stderr)
		if step == nil || !strings.Contains(out.stderr, "\n"+step[1]+" CACHED") {
			l.t.Errorf("the step of %s was run again:\n%s", p, out.stderr)
		}
	}
}

// farmPurge takes everything off the hosts again.
func farmPurge(l *farmLab) {
	for _, name := range []string{"one", "two"} {
		l.must("nodes", "rm", "--purge", name)
		h := l.Host(name)
		within(l.t, 10*time.Second, "left on the host", func() string {
			return strings.Join(slices.DeleteFunc(h.Leftovers(), func(line string) bool { return strings.Contains(line, "home/pi") || isConnection(line) }), "\n")
		})
		files, err := h.Files()
		if err != nil {
			l.t.Fatal(err)
		}
		files = slices.DeleteFunc(files, func(path string) bool { return strings.HasPrefix(path, "home/pi") })
		if len(files) > 0 {
			l.t.Errorf("files on %s: %q", name, files)
		}
	}
	for _, n := range decode[[]listed](l.t, l.must("nodes", "ls", "--json")) {
		if n.Name != "local" {
			l.t.Errorf("%s is still listed", n.Name)
		}
	}
}
