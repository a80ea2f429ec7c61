// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// contextOfTimes is a context whose images hold files with times of their own: made by RUN, made by COPY, and copied ones.
func contextOfTimes(t testing.TB, l *lab) string {
	t.Helper()
	return l.context(map[string]string{
		"Dockerfile": "FROM " + registry(t) + `/busybox AS run
RUN mkdir -p /out/dir && uname -m > /out/machine && ln -s machine /out/dir/link
FROM ` + registry(t) + `/busybox
COPY --from=run /out /out
COPY a /copied/
RUN touch /touched
`,
		"a": "a",
	})
}

// TestSteady: what is built anew although nothing changed has the same name.
func TestSteady(t *testing.T) {
	l := newLab(t)
	dir := contextOfTimes(t, l)
	host, foreign := hostPlatform(), foreignPlatform()
	push := func(l *lab, platforms, tag string, args ...string) string {
		l.t.Helper()
		return l.must(append([]string{"build", "--platform", platforms, "-t", registry(t) + "/steady/app:" + tag, "--push", dir}, args...)...)
	}

	for _, test := range []struct{ rule, platforms, provenance string }{
		{"two platforms, default provenance", host + "," + foreign, ""},
		{"two platforms, all provenance", host + "," + foreign, "--provenance=mode=max"},
		{"two platforms, no provenance", host + "," + foreign, "--provenance=false"},
		{"one platform, default provenance", foreign, ""},
		{"one platform, no provenance", foreign, "--provenance=false"},
	} {
		t.Run("a no-op has the same digest: "+test.rule, func(t *testing.T) {
			l := l.on(t)
			var args []string
			if test.provenance != "" {
				args = append(args, test.provenance)
			}
			first := push(l, test.platforms, "noop", args...)
			if second := push(l, test.platforms, "noop", args...); second != first {
				t.Errorf("first %s, then %s", first, second)
			}
		})
	}
	t.Run("files whose time alone changed are no change", func(t *testing.T) {
		l := l.on(t)
		first := push(l, host, "touched")
		now := time.Now().Add(time.Hour)
		if err := os.Chtimes(filepath.Join(dir, "a"), now, now); err != nil {
			t.Fatal(err)
		}
		if second := push(l, host, "touched"); second != first {
			t.Errorf("first %s, then %s", first, second)
		}
	})
	t.Run("another order is another index of the same images", func(t *testing.T) {
		l := l.on(t)
		there := push(l, host+","+foreign, "order")
		back := push(l, foreign+","+host, "order")
		if there == back {
			t.Fatalf("both are %s", there)
		}
		if again := push(l, host+","+foreign, "order"); again != there {
			t.Errorf("first %s, then %s", there, again)
		}
		a, b := pull(t, there), pull(t, back)
		if got, want := platformsOf(t, b), foreign+","+host; got != want {
			t.Errorf("platforms of the index: %s, want %s", got, want)
		}
		for _, platform := range []string{host, foreign} {
			if x, y := digestOf(t, imageOf(t, a, platform)), digestOf(t, imageOf(t, b, platform)); x != y {
				t.Errorf("%s: %s and %s", platform, x, y)
			}
		}
	})
}

// TestReproducible: two solvers that know nothing of each other make the same bytes where the times are given.
func TestReproducible(t *testing.T) {
	both := hostPlatform() + "," + foreignPlatform()
	for _, test := range []struct{ rule, provenance string }{
		{"without provenance", "--provenance=false"}, {"with default provenance", "--provenance=mode=min"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var digests []string
			for range 2 {
				l := newLab(t).setting("SOURCE_DATE_EPOCH=1700000000")
				out := l.must("build", "--platform", both, test.provenance, "-o",
					"type=registry,rewrite-timestamp=true,name="+registry(t)+"/reproducible/app:1", contextOfTimes(t, l))
				_, digest, _ := strings.Cut(out, "@")
				digests = append(digests, digest)
			}
			if digests[0] != digests[1] {
				t.Errorf("two empty states, two digests: %v", digests)
			}
			index := pull(t, registry(t)+"/reproducible/app:1")
			want := time.Unix(1700000000, 0)
			for _, platform := range strings.Split(both, ",") {
				image := imageOf(t, index, platform)
				if got := configOf(t, image).Created.Time; !got.Equal(want) {
					t.Errorf("%s was created %v, want %v", platform, got, want)
				}
				files := rootfsOf(t, image)
				for _, name := range []string{"out/machine", "copied/a", "touched"} {
					if got := files[name].ModTime; got.After(want) {
						t.Errorf("%s: /%s is of %v, want at most %v", platform, name, got, want)
					}
				}
			}
		})
	}
}
