// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"strings"
	"testing"
)

// TestCheckReproducible: what differs from build to build is not written, and named.
func TestCheckReproducible(t *testing.T) {
	const clean = "FROM BASE\nRUN mkdir /out && uname -m > /out/machine\n"
	const random = "FROM BASE\nRUN mkdir /out && echo fixed > /out/fixed && head -c 8 /dev/urandom | od -x > /out/random\n"
	output := func(ref string) string { return "type=registry,rewrite-timestamp=true,name=" + ref }
	t.Run("on one node", func(t *testing.T) {
		l := newLab(t).setting("SOURCE_DATE_EPOCH=1700000000")
		both := hostPlatform() + "," + foreignPlatform()
		check := func(ref, dockerfile string, more ...string) []string {
			return append([]string{"build", "--check-reproducible", "--platform", both, "-o", output(ref), l.contextOn(map[string]string{"Dockerfile": dockerfile})}, more...)
		}
		good, bad := registry(t)+"/twice/good:1", registry(t)+"/twice/bad:1"
		pushed := l.must(check(good, clean)...)
		for platform := range strings.SplitSeq(both, ",") {
			if files := rootfsOf(t, imageOf(t, pull(t, pushed), platform)); files.text(t, "out/machine") == "" {
				t.Errorf("%s: /out/machine is empty", platform)
			}
		}
		out := l.refused(5, []string{
			"checking the result: it is not reproducible: " + strings.ReplaceAll(both, ",", ", ") + " differ",
			hostPlatform() + ", built on local and then on local:", "layer 2: /out/random: content", "mab: hint: ",
		}, check(bad, random)...)
		if strings.Contains(out.stderr, "/out/fixed:") || strings.Contains(out.stderr, "config: ") || exists(t, bad) || out.stdout != "" {
			t.Errorf("the reference exists: %v; standard output %q; error:\n%s", exists(t, bad), out.stdout, out.stderr)
		}
		// Without the setting that gives files their times, these differ.
		plain := l.setting("SOURCE_DATE_EPOCH=")
		plain.refused(5, []string{"/out/machine: time", "config: created: value", "SOURCE_DATE_EPOCH", "rewrite-timestamp=true"},
			"build", "--check-reproducible", l.contextOn(map[string]string{"Dockerfile": clean}))
	})
	t.Run("on two nodes", func(t *testing.T) {
		l := newSplitLab(t, hosts("one", "two")...)
		l = l.setting("SOURCE_DATE_EPOCH=1700000000")
		build := func(ref, dockerfile string) []string {
			return []string{
				"build", "--progress=plain", "--check-reproducible", "--node=one,two", "--platform", hostPlatform(), "-o", output(ref),
				l.contextOn(map[string]string{"Dockerfile": dockerfile}),
			}
		}
		pull(t, l.must(build(registry(t)+"/twice/good:2", clean)...))
		out := l.refused(5, []string{"/out/random: content"}, build(registry(t)+"/twice/bad:2", random)...)
		there, back := "built on one and then on two:", "built on two and then on one:"
		if !strings.Contains(out.stderr, there) && !strings.Contains(out.stderr, back) {
			t.Errorf("both were built on one node:\n%s", out.stderr)
		}
	})
}
