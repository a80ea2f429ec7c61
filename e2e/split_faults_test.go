// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/farm"
)

// faultPlatforms are for two nodes: each has one at least.
const faultPlatforms = "linux/amd64,linux/arm64,linux/s390x"

// rightOrNamed fails the test unless a build ended well with one id in all platforms, or with an error that names a node and nothing written.
// It reports which.
func (l *splitLab) rightOrNamed(out output, ref string) bool {
	l.t.Helper()
	if out.code == 0 {
		sameID(l.t, strings.TrimSpace(out.stdout), faultPlatforms)
		return true
	}
	if out.code != 4 || out.stdout != "" {
		l.t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
	}
	said(l.t, out, "mab: error: ")
	if at := strings.Index(out.stderr, "mab: error: "); at >= 0 && !strings.Contains(out.stderr[at:], "one") && !strings.Contains(out.stderr[at:], "two") {
		l.t.Errorf("the error names no node:\n%s", out.stderr[at:])
	}
	if exists(l.t, ref) {
		l.t.Errorf("%s was written", ref)
	}
	return false
}

// counts waits until a step has run so often, or the build has ended.
func (l *splitLab) counts(build *running, name string, times int) {
	l.t.Helper()
	eventually(l.t, 90*time.Second, fmt.Sprintf("%s ran %d times", name, times), func() bool {
		_, born := stat(build.cmd.Process.Pid)
		if born == 0 && l.count(name) < times {
			l.t.Fatalf("the build ended: %s", build.wait().stderr)
		}
		return l.count(name) >= times
	})
}

// producer is the host that has sent so much more than it had before, which are the numbers for one and two.
func (l *splitLab) producer(build *running, one, two, more int64) *farm.Host {
	l.t.Helper()
	var h *farm.Host
	eventually(l.t, 90*time.Second, "a part of the blobs is sent", func() bool {
		if _, now := l.Host("one").Traffic(); now > one+more {
			h = l.Host("one")
		} else if _, now := l.Host("two").Traffic(); now > two+more {
			h = l.Host("two")
		}
		if _, born := stat(build.cmd.Process.Pid); born == 0 {
			l.t.Fatalf("the build ended: %s", build.wait().stderr)
		}
		return h != nil
	})
	return h
}

// splitFaults are those that befall the node which makes the shared part, or another.
func splitFaults() []fault {
	return []fault{
		{"the solver is killed", killSolvers, undone, false},
		{"the link is cut", func(t *testing.T, h *farm.Host) { sound(t, h.Cut(t.Context())) },
			func(t *testing.T, h *farm.Host) { sound(t, h.Mend(t.Context())) }, false},
	}
}

// TestSplitFaults: whatever befalls the node that makes what others need, or one of those, all platforms have the same of it in the end, or there
// is nothing and the error says why.
func TestSplitFaults(t *testing.T) {
	l := newSplitLab(t, farm.HostConfig{Name: "one", Disk: 1024}, farm.HostConfig{Name: "two", Disk: 1024})
	for _, name := range []string{"one", "two"} {
		l.must("build", "--platform", faultPlatforms, l.archContext("warm", ""), "--node", name)
	}
	const both = "--node=one,two"
	number := 0
	// begin starts a build whose shared part has a step before it is done, and whose platforms have one each.
	begin := func(l *splitLab, shared, each string) (build *running, name, ref string) {
		number++
		name = fmt.Sprintf("fault%d", number)
		ref = registry(t) + "/split/" + name + ":1"
		from := registry(t) + "/busybox"
		dir := l.context(map[string]string{"Dockerfile": "FROM --platform=$BUILDPLATFORM " + from + " AS shared\n" +
			"RUN " + l.hit(name+"/shared") + " && " + chance + "\nRUN " + shared + " && " + l.hit(name+"/done") + "\n" +
			"FROM " + from + " AS use\nCOPY --from=shared /out /in\nRUN " + l.hit(name+"/each") + " && " + each + " && cp /in/id /id\n" +
			"FROM " + from + "\nCOPY --from=use /id /id\nRUN uname -m > /arch\n"})
		return l.start(l.farmBuild(ref, faultPlatforms, dir, both)...), name, ref
	}
	for _, f := range splitFaults() {
		t.Run("before the shared part/"+f.name, func(t *testing.T) {
			l := l.on(t)
			build, _, ref := begin(l, "true", "true")
			h := l.Host("one")
			eventually(t, 30*time.Second, "the host is reached", func() bool {
				return strings.Contains(fmt.Sprint(h.Processes()), " agent connect")
			})
			defer f.undo(t, h)
			f.do(t, h)
			out := build.within(routed + 30*time.Second)
			if !l.rightOrNamed(out, ref) {
				t.Errorf("the other node could have done all:\n%s", out.stderr)
			}
		})
		t.Run("in the shared part/"+f.name, func(t *testing.T) {
			l := l.on(t)
			build, name, ref := begin(l, pause, "true")
			h := l.halted(build, "one", "two")
			began := time.Now()
			defer f.undo(t, h)
			f.do(t, h)
			out := build.within(routed + 30*time.Second)
			t.Logf("it ended after %v", time.Since(began).Round(100*time.Millisecond))
			if !l.rightOrNamed(out, ref) {
				t.Errorf("the other node could have done all:\n%s", out.stderr)
			}
			said(t, out, l.name(h), "planned anew")
			l.counted(map[string]int{name + "/shared": 2, name + "/done": 1, name + "/each": 3})
			quiet(t, h)
			quiet(t, l.other(h))
		})
		t.Run("after the shared part/"+f.name, func(t *testing.T) {
			l := l.on(t)
			build, name, ref := begin(l, pause, "sleep 5.5")
			h := l.halted(build, "one", "two")
			l.counts(build, name+"/each", 3)
			defer f.undo(t, h)
			f.do(t, h)
			out := build.within(routed + 40*time.Second)
			if !l.rightOrNamed(out, ref) {
				t.Errorf("the other node could have done all:\n%s", out.stderr)
			}
			said(t, out, l.name(h), "planned anew")
			quiet(t, h)
			quiet(t, l.other(h))
		})
		t.Run("the other node in its own part/"+f.name, func(t *testing.T) {
			l := l.on(t)
			build, name, ref := begin(l, pause, "sleep 5.5")
			h := l.other(l.halted(build, "one", "two"))
			l.counts(build, name+"/each", 3)
			defer f.undo(t, h)
			f.do(t, h)
			out := build.within(routed + 40*time.Second)
			if !l.rightOrNamed(out, ref) {
				t.Errorf("the other node could have done all:\n%s", out.stderr)
			}
			said(t, out, l.name(h), "planned anew")
			l.counted(map[string]int{name + "/shared": 1, name + "/done": 1})
			quiet(t, h)
			quiet(t, l.other(h))
		})
	}
	const large = "dd if=/dev/urandom of=/out/blob bs=100000 count=200"
	for _, f := range splitFaults() {
		for _, producer := range []bool{true, false} {
			who := map[bool]string{true: "the producer", false: "the consumer"}[producer]
			t.Run("while blobs flow/"+f.name+" of "+who, func(t *testing.T) {
				l := l.on(t)
				for _, name := range []string{"one", "two"} {
					sound(t, l.Host(name).Shape(t.Context(), 20))
					defer func() { sound(t, l.Host(name).Shape(t.Context(), 0)) }()
				}
				_, one := l.Host("one").Traffic()
				_, two := l.Host("two").Traffic()
				build, name, ref := begin(l, large, "md5sum /in/blob")
				h := l.producer(build, one, two, 4<<20)
				if !producer {
					h = l.other(h)
				}
				defer f.undo(t, h)
				f.do(t, h)
				out := build.within(routed + 60*time.Second)
				if !l.rightOrNamed(out, ref) {
					t.Errorf("the other node could have done all:\n%s", out.stderr)
				}
				said(t, out, l.name(h))
				t.Logf("the shared step ran %d times\n%s", l.count(name+"/shared"), out.stderr)
				quiet(t, h)
				quiet(t, l.other(h))
			})
		}
	}
	t.Run("the consumer's disk is full", func(t *testing.T) {
		l := l.on(t)
		build, name, ref := begin(l, large+" && "+pause, "md5sum /in/blob")
		maker := l.halted(build, "one", "two")
		h := l.other(maker)
		defer func() { sound(t, h.FreeDisk()) }()
		sound(t, h.FillDisk(8<<20))
		out := build.within(routed + 60*time.Second)
		if !l.rightOrNamed(out, ref) {
			t.Errorf("the other node could have done all:\n%s", out.stderr)
		}
		said(t, out, l.name(h)+" is planned anew", "disk")
		l.counted(map[string]int{name + "/shared": 1, name + "/done": 1})
		quiet(t, h)
		quiet(t, maker)
	})
	t.Run("the producer's disk is full", func(t *testing.T) {
		l := l.on(t)
		build, _, ref := begin(l, pause+" && "+large, "md5sum /in/blob")
		h := l.halted(build, "one", "two")
		defer func() { sound(t, h.FreeDisk()) }()
		sound(t, h.FillDisk(8<<20))
		out := build.within(routed + 60*time.Second)
		if !l.rightOrNamed(out, ref) {
			t.Errorf("the other node could have done all:\n%s", out.stderr)
		}
		said(t, out, l.name(h))
		quiet(t, h)
	})
	t.Run("a failing shared step is told once", func(t *testing.T) {
		l := l.on(t)
		build, name, ref := begin(l, "exit 7", "true")
		out := build.within(routed + 20*time.Second)
		if out.code != 1 || out.stdout != "" || exists(t, ref) {
			t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
		}
		said(t, out, "exit code: 7", "Dockerfile:3", "mab: error: ")
		l.counted(map[string]int{name + "/shared": 1, name + "/each": 0})
	})
	t.Run("all is well again", func(t *testing.T) {
		l := l.on(t)
		build, _, ref := begin(l, "true", "true")
		if out := build.wait(); !l.rightOrNamed(out, ref) {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
}
