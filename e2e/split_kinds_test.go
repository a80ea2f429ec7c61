// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/farm"
)

// withoutQEMU takes all emulators from a host, before mab comes there, and returns what gives them back.
func withoutQEMU(t testing.TB, h *farm.Host) (giveBack func()) {
	t.Helper()
	run := func(command string) {
		t.Helper()
		_, err := h.Run(t.Context(), "sh", "-ec", "for f in $(ls -d /usr/bin/qemu-*-static /usr/bin/qemu-x86_64 /usr/local/bin/qemu-* /usr/libexec/qemu-binfmt/* 2>/dev/null); do "+command+"; done")
		sound(t, err)
	}
	run(`mount --bind /dev/null "$f"`)
	return func() { t.Helper(); run(`umount "$f"`) }
}

// material is what a provenance statement says that an image was made of, in the words of SLSA 0.2 and 1.
type material struct {
	Predicate struct {
		Materials       []struct{ URI string }
		BuildDefinition struct {
			ResolvedDependencies []struct{ URI string }
			ExternalParameters   struct {
				ConfigSource struct{ Path string }
				Request      struct {
					Frontend string
					Args     map[string]string
				}
			}
		}
	}
}

// uris are what a statement names, sorted.
func uris(t testing.TB, statement string) []string {
	t.Helper()
	m := decode[material](t, statement)
	var out []string
	for _, of := range slices.Concat(m.Predicate.Materials, m.Predicate.BuildDefinition.ResolvedDependencies) {
		out = append(out, of.URI)
	}
	slices.Sort(out)
	return out
}

// TestSplitProvenance: an image's provenance names what the shared part was made of, though another node made it.
func TestSplitProvenance(t *testing.T) {
	l := newSplitLab(t, hosts("one", "two", "three")...)
	sound(t, os.WriteFile(filepath.Join(l.files, "text"), []byte("a text\n"), 0o644))
	const platforms = "linux/amd64,linux/arm64,linux/s390x"
	dir := func(l *splitLab, name string) string {
		return l.idContext(name, "ADD "+l.URL+"/text /in/", "COPY --from="+registry(t)+"/split/material /m /m", "RUN cat /in/text /m > /out/all")
	}
	l.must("build", "--node=local", "--platform", platforms, "-t", registry(t)+"/split/material", "--push", "--provenance=false",
		l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY m /\n", "m": "m"}))
	for _, mode := range []string{"mode=min", "mode=max", "mode=max,version=v0.2"} {
		t.Run(mode, func(t *testing.T) {
			l := l.on(t)
			context := dir(l, strings.ReplaceAll("provenance"+mode, ",", ""))
			statements := func(tag string, more ...string) []string {
				args := slices.Concat(l.farmBuild(registry(t)+"/split/provenance:"+tag, platforms, context, "--provenance="+mode, "--build-arg", "GIVEN=yes"), more)
				index := pull(t, l.pushed(args...))
				found := provenance(t, index)
				var out []string
				for p := range strings.SplitSeq(platforms, ",") {
					out = append(out, found[digestOf(t, imageOf(t, index, p))])
				}
				return out
			}
			whole := statements("whole", "--node=local", "--no-split")
			split := statements("split", "--node=one,two,three")
			if len(l.nodesOf()) < 2 {
				t.Errorf("all was built on %v", l.nodesOf())
			}
			for i := range whole {
				if diff := cmp.Diff(uris(t, whole[i]), uris(t, split[i])); diff != "" {
					t.Errorf("platform %d: what it was made of (-whole +split):\n%s", i, diff)
				}
				if !strings.Contains(split[i], l.URL+"/text") || !strings.Contains(split[i], "/split/material") {
					t.Errorf("platform %d: sources of the shared part are missing:\n%s", i, split[i])
				}
				x, y := decode[material](t, whole[i]).Predicate.BuildDefinition, decode[material](t, split[i]).Predicate.BuildDefinition
				if diff := cmp.Diff(x.ExternalParameters, y.ExternalParameters); diff != "" {
					t.Errorf("platform %d: what was asked for (-whole +split):\n%s", i, diff)
				}
			}
		})
	}
}

// TestSplitCross: who runs nothing of a platform needs no emulator for it, and what runs little of it runs only that where it can.
func TestSplitCross(t *testing.T) {
	l := newSplitLab(t, hosts("plain", "able")...)
	// The one named plain runs programs of its own kind alone.
	giveBack := withoutQEMU(t, l.Host("plain"))
	cross := func(name, last string) string {
		return l.context(map[string]string{"Dockerfile": `FROM --platform=$BUILDPLATFORM ` + registry(t) + `/busybox AS shared
RUN ` + l.hit(name+"/shared") + ` && ` + chance + `
FROM shared AS compile
ARG TARGETARCH
RUN ` + l.hit(name+"/private/$TARGETARCH") + ` && echo $TARGETARCH > /out/for && uname -m > /out/on
FROM ` + registry(t) + `/busybox
COPY --from=compile /out /
` + last})
	}
	result := func(t *testing.T, ref, platforms string) []string {
		t.Helper()
		index := pull(t, ref)
		var out []string
		for p := range strings.SplitSeq(platforms, ",") {
			files := rootfsOf(t, imageOf(t, index, p))
			out = append(out, files.text(t, "for")+" on "+files.text(t, "on")+" "+files.text(t, "id"))
		}
		return out
	}
	const three = "linux/amd64,linux/arm64,linux/s390x"
	native := machineOf(t, hostPlatform()).uname
	for _, nodes := range []string{"plain", "plain,able"} {
		t.Run("cross on "+nodes, func(t *testing.T) {
			l, name := l.on(t), "cross-"+strings.ReplaceAll(nodes, ",", "-")
			got := result(t, l.pushed(l.farmBuild(registry(t)+"/split/cross:1", three, cross(name, ""), "--node", nodes)...), three)
			_, id, _ := strings.Cut(got[0], " on "+native+" ")
			want := []string{"amd64 on " + native + " " + id, "arm64 on " + native + " " + id, "s390x on " + native + " " + id}
			if diff := cmp.Diff(want, got); diff != "" || id == "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			l.counted(map[string]int{name + "/shared": 1, name + "/private/amd64": 1, name + "/private/arm64": 1, name + "/private/s390x": 1})
			for p, how := range l.where() {
				if p != hostPlatform() && !strings.HasSuffix(how, " cross") {
					t.Errorf("%s was built %s", p, how)
				}
			}
		})
	}
	t.Run("the node without emulators has none", func(t *testing.T) {
		text := l.on(t).must("nodes", "inspect", "--json", "plain")
		for _, s := range decode[seen](t, text).Info.Survey {
			if s.How == "emulated" {
				t.Errorf("it emulates %s", s.Platform)
			}
		}
	})
	t.Run("a foreign step at the end runs where there is an emulator, and the rest is done once", func(t *testing.T) {
		l := l.on(t)
		ref := l.pushed(l.farmBuild(registry(t)+"/split/last:1", three, cross("last", "RUN "+l.hit("last/each")+" && uname -m > /arch\n"), "--node=plain,able")...)
		correct(t, ref, three)
		got := result(t, ref, three)
		for _, text := range got {
			if !strings.Contains(text, " on "+native+" ") || text[len(text)-10:] != got[0][len(got[0])-10:] {
				t.Errorf("got %q", got)
			}
		}
		want := map[string]int{"last/shared": 1, "last/each": 3}
		for _, arch := range []string{"amd64", "arm64", "s390x"} {
			want["last/private/"+arch] = 1
		}
		l.counted(want)
		for _, p := range []string{"linux/arm64", "linux/s390x"} {
			if got := l.where()[p]; !strings.HasPrefix(got, "able ") {
				t.Errorf("%s was built by %s", p, got)
			}
		}
	})
	t.Run("nothing is left", func(t *testing.T) {
		giveBack()
		quiet(t, l.Host("plain"))
		quiet(t, l.Host("able"))
	})
}

// TestSplitCaches: a cache that one farm wrote spares another farm the shared part.
func TestSplitCaches(t *testing.T) {
	l := newSplitLab(t, hosts("one", "two", "three", "four")...)
	const platforms = "linux/amd64,linux/arm64,linux/s390x"
	local := t.TempDir()
	for i, cache := range []struct{ to, from string }{
		{"type=registry,mode=max,ref=" + registry(t) + "/split/cache:1", "type=registry,ref=" + registry(t) + "/split/cache:1"},
		{"type=local,mode=max,dest=" + local, "type=local,src=" + local},
	} {
		t.Run(cache.to[:strings.Index(cache.to, ",")], func(t *testing.T) {
			l, name := l.on(t), fmt.Sprintf("cache%d", i)
			dir := l.idContext(name)
			args := func(more ...string) []string {
				return append(l.farmBuild(registry(t)+"/split/"+name+":1", platforms, dir), more...)
			}
			first := sameID(t, l.pushed(args("--node=one,two", "--cache-to", cache.to)...), platforms)
			if len(l.nodesOf()) < 2 {
				t.Errorf("all was built on %v", l.nodesOf())
			}
			second := sameID(t, l.pushed(args("--node=three,four", "--cache-from", cache.from)...), platforms)
			if first != second {
				t.Errorf("first the id is %q, then %q", first, second)
			}
			l.counted(map[string]int{name + "/shared": 1, name + "/each": 3})
		})
	}
}
