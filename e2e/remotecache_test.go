// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"strings"
	"testing"
)

// TestCaches builds on one state and then on an empty one that knows the first by a cache alone.
func TestCaches(t *testing.T) {
	both := strings.Join(twoPlatforms(), ",")
	first := newLab(t)
	local := t.TempDir()
	ref := registry(t) + "/caches/"
	for _, test := range []struct{ rule, to, from string }{
		{"registry", "type=registry,mode=max,ref=" + ref + "cache:1", "type=registry,ref=" + ref + "cache:1"},
		{"registry, in short", ref + "cache:2", ref + "cache:2"},
		{"local", "type=local,mode=max,dest=" + local, "type=local,src=" + local},
		{"inline", "type=inline", "type=registry,ref=" + ref + "app:inline"},
		{"inline, in buildx's older form", "BUILDKIT_INLINE_CACHE=1", "type=registry,ref=" + ref + "app:inline"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			files := map[string]string{"Dockerfile": "FROM BASE\nCOPY a /a\nRUN (uname -m; " + uuid + ") > /seen\n", "a": test.rule}
			args := func(l *lab) []string {
				return []string{"build", "--platform", both, "-t", ref + "app:" + strings.Split(test.rule, ",")[0], "--push", l.contextOn(files)}
			}
			flag := "--cache-to"
			if strings.HasPrefix(test.to, "BUILDKIT_") {
				flag = "--build-arg"
			}
			first := first.on(t)
			made := pull(t, first.must(append(args(first), flag, test.to)...))
			second := newLab(t)
			// What is checked is fetched, and the step that made it then shows that instead of where it was found.
			out := second.mab(append(args(second), "--verify=off", "--cache-from", test.from)...)
			if out.code != 0 || ran(t, out.stderr, "RUN (uname -m; "+uuid+") > /seen") {
				t.Fatalf("exit code %d, or not cached:\n%s", out.code, out.stderr)
			}
			found := pull(t, strings.TrimSpace(out.stdout))
			for _, platform := range twoPlatforms() {
				was, is := rootfsOf(t, imageOf(t, made, platform)).text(t, "seen"), rootfsOf(t, imageOf(t, found, platform)).text(t, "seen")
				if was != is || !strings.HasPrefix(is, machineOf(t, platform).uname+"\n") {
					t.Errorf("%s: %q was made, %q was found", platform, was, is)
				}
			}
		})
	}
	t.Run("each of several is whole", func(t *testing.T) {
		files := map[string]string{"Dockerfile": "FROM BASE\nCOPY a /a\nRUN " + uuid + "\n", "a": "several"}
		first := first.on(t)
		args := []string{"build", first.contextOn(files)}
		from := map[string]bool{}
		for _, name := range []string{"1", "2"} {
			args = append(args, "--cache-to", "type=registry,ref="+ref+"several:"+name, "--cache-to", "type=local,dest="+local+"/"+name)
			from["type=registry,ref="+ref+"several:"+name], from["type=local,src="+local+"/"+name] = true, true
		}
		first.must(args...)
		second := newLab(t)
		for name := range from {
			out := second.mab("build", "--cache-from", name, second.contextOn(files))
			if out.code != 0 || ran(t, out.stderr, "RUN "+uuid) {
				t.Errorf("%s: exit code %d, or not cached:\n%s", name, out.code, out.stderr)
			}
			second.must("cache", "prune", "--all", "--force")
		}
	})
	t.Run("a cache that is not there is no reason to fail", func(t *testing.T) {
		l := newLab(t)
		l.must("build", "--cache-from", ref+"nothing:1", l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN true\n"}))
	})
}
