// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// largeBase is how many programs the base image of BenchmarkVerify has: copies of mab, of some 50 MB each, no two alike.
const largeBase = 6

// BenchmarkVerify is a build on a large base image that changes nothing, pushed: without the check, with it, and with it where nothing is
// remembered of earlier ones. The ratio of the first two is what the check costs each build, that of the last two what is remembered saves.
func BenchmarkVerify(b *testing.B) {
	l := newLab(b)
	addr := registry(b)
	program := []byte(read(b, mabBinary))
	dockerfile, files := "FROM scratch\n", map[string]string{}
	for i := range largeBase {
		name := fmt.Sprintf("program%d", i)
		files[name] = string(program) + name
		dockerfile += "COPY " + name + " /\n"
	}
	files["Dockerfile"] = dockerfile
	l.must("build", "-q", "--platform", hostPlatform(), "--verify=off", "-t", addr+"/bench/large", "--push", l.context(files))
	dir := l.context(map[string]string{"Dockerfile": "FROM " + addr + "/bench/large\nCOPY salt /\n", "salt": "salt"})
	build := func(verify string) {
		l.must("build", "-q", "--platform", hostPlatform(), "--verify="+verify, "-t", addr+"/bench/verify", "--push", dir)
	}
	kept := filepath.Join(l.root, "checks")
	build("strict")
	for _, bench := range []struct{ name, verify string }{{"off", "off"}, {"strict", "strict"}, {"nothing remembered", "strict"}} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if bench.name == "nothing remembered" {
					b.StopTimer()
					sound(b, os.RemoveAll(kept))
					b.StartTimer()
				}
				build(bench.verify)
			}
		})
	}
}
