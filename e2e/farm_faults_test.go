// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/farm"
)

// routed is how soon a build must have gone on elsewhere, or have ended, when a node is lost: it takes a few seconds to see, and 15 s to act.
const routed = 20 * time.Second

// fault is what befalls a host in the middle of a build.
type fault struct {
	name string
	do   func(t *testing.T, h *farm.Host)
	undo func(t *testing.T, h *farm.Host)
	// pushed says that it is one of a build that pushes, too.
	pushed bool
}

func undone(*testing.T, *farm.Host) {}

func sound(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// killSolvers kills every solver of a host.
func killSolvers(t *testing.T, h *farm.Host) {
	t.Helper()
	killed := 0
	for _, p := range h.Processes() {
		if strings.Contains(p.Line, " serve ") || strings.HasSuffix(p.Line, " serve") {
			_ = h.Kill(t.Context(), p.PID) // Its other half may have gone with the first.
			killed++
		}
	}
	if killed == 0 {
		t.Fatalf("no solver runs: %v", h.Processes())
	}
}

const diskFull = "the disk is full"

// faults are those of the middle of a build.
func faults() []fault {
	return []fault{
		{"the solver is killed", killSolvers, undone, true},
		{"sshd is killed", func(t *testing.T, h *farm.Host) { sound(t, h.StopSSHD()) },
			func(t *testing.T, h *farm.Host) { sound(t, h.StartSSHD(t.Context())) }, true},
		{"its connections are killed", func(t *testing.T, h *farm.Host) { sound(t, h.KillConnections()) }, undone, false},
		{"the link is cut", func(t *testing.T, h *farm.Host) { sound(t, h.Cut(t.Context())) },
			func(t *testing.T, h *farm.Host) { sound(t, h.Mend(t.Context())) }, true},
		{"the link is cut and back", func(t *testing.T, h *farm.Host) {
			sound(t, h.Cut(t.Context()))
			time.Sleep(6 * time.Second) // longer than it takes to see
			sound(t, h.Mend(t.Context()))
		}, undone, true},
		{diskFull, func(t *testing.T, h *farm.Host) { sound(t, h.FillDisk(64<<10)) },
			func(t *testing.T, h *farm.Host) { sound(t, h.FreeDisk()) }, true},
	}
}

// pause is a step's time for a fault to happen in.
const pause = "sleep 4.25"

// halted waits until a step sleeps on one of the hosts, and returns that.
func (l *farmLab) halted(build *running, names ...string) *farm.Host {
	l.t.Helper()
	var found *farm.Host
	eventually(l.t, 60*time.Second, "a step runs on a host", func() bool {
		for _, name := range names {
			for _, p := range l.Host(name).Processes() {
				if strings.Contains(p.Line, pause) {
					found = l.Host(name)
				}
			}
		}
		_, born := stat(build.cmd.Process.Pid)
		return found != nil || born == 0
	})
	if found == nil {
		l.t.Fatalf("the build ended: %s", build.wait().stderr)
	}
	return found
}

// other is the host of two that is not this one.
func (l *farmLab) other(h *farm.Host) *farm.Host {
	if l.Host("one") == h {
		return l.Host("two")
	}
	return l.Host("one")
}

// name is what the tests call a host.
func (l *farmLab) name(h *farm.Host) string {
	if l.Host("one") == h {
		return "one"
	}
	return "two"
}

// TestFarmFaults: whatever befalls the node that runs a step, another takes its place; and where there is none, the build ends and says which
// node it was.
func TestFarmFaults(t *testing.T) {
	// Small disks are quickly full.
	l := newFarmLab(t, farm.HostConfig{Name: "one", Disk: 256}, farm.HostConfig{Name: "two", Disk: 256})
	// Both are brought to life, so that no time is that of the first build.
	for _, name := range []string{"one", "two"} {
		l.must(append([]string{"build", l.archContext("warm", "")}, l.node(name)...)...)
	}
	for _, f := range faults() {
		t.Run("in a step/"+f.name, func(t *testing.T) {
			l := l.on(t)
			ref := registry(t) + "/faults/app:1"
			const write = pause + " && dd if=/dev/urandom of=/noise bs=100000 count=30"
			build := l.start(append(l.farmBuild(ref, "linux/amd64", l.archContext(t.Name(), write)), l.node("one", "two")...)...)
			h := l.halted(build, "one", "two")
			began := time.Now()
			defer f.undo(t, h)
			f.do(t, h)
			out := build.within(routed + 10*time.Second)
			t.Logf("it ended after %v", time.Since(began).Round(100*time.Millisecond))
			if out.code != 0 {
				t.Fatalf("exit code %d\n%s", out.code, out.stderr)
			}
			correct(t, strings.TrimSpace(out.stdout), "linux/amd64")
			said(t, out, l.name(h)+" is planned anew")
			if got := l.where()["linux/amd64"]; got != l.name(l.other(h))+" native" {
				t.Errorf("it was built by %s", got)
			}
			quiet(t, h)
			quiet(t, l.other(h))
		})
		t.Run("in a step and there is no other/"+f.name, func(t *testing.T) {
			l := l.on(t)
			ref := registry(t) + "/faults/none:1"
			const write = pause + " && dd if=/dev/urandom of=/noise bs=100000 count=30"
			build := l.start(append(l.farmBuild(ref, "linux/amd64", l.archContext(t.Name(), write)), l.node("one")...)...)
			h := l.halted(build, "one")
			defer f.undo(t, h)
			f.do(t, h)
			out := build.within(routed)
			if out.code != 4 || out.stdout != "" {
				t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
			}
			said(t, out, "mab: error: ", "one")
			if exists(t, ref) {
				t.Errorf("%s was written", ref)
			}
			quiet(t, h)
		})
	}
	for _, f := range faults() {
		// What of a build finds no room so early, and what is said of it, is a matter of chance.
		if f.name != diskFull {
			t.Run("as soon as it is reached/"+f.name, func(t *testing.T) { farmEarlyFault(l.on(t), f) })
		}
	}
	for _, f := range faults() {
		if f.pushed {
			t.Run("while it pushes/"+f.name, func(t *testing.T) { farmPushFault(l.on(t), f) })
		}
	}
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("its disk is full from the beginning/solver runs=%v", running), func(t *testing.T) { farmFullDisk(l.on(t), running) })
	}
	t.Run("a link that is cut for a moment does no harm", func(t *testing.T) {
		l := l.on(t)
		build := l.start(append(l.farmBuild(registry(t)+"/faults/blink:1", "linux/amd64", l.archContext(t.Name(), pause)), l.node("one")...)...)
		h := l.halted(build, "one")
		sound(t, h.Cut(t.Context()))
		time.Sleep(time.Second)
		sound(t, h.Mend(t.Context()))
		out := build.within(routed)
		if out.code != 0 {
			t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		correct(t, strings.TrimSpace(out.stdout), "linux/amd64")
	})
	t.Run("all come back", func(t *testing.T) {
		l := l.on(t)
		for _, name := range []string{"one", "two"} {
			args := l.farmBuild(registry(t)+"/faults/back:1", "linux/amd64", l.archContext(t.Name(), ""))
			correct(t, l.pushed(append(args, l.node(name)...)...), "linux/amd64")
		}
	})
	t.Run("the build is interrupted", func(t *testing.T) {
		l := l.on(t)
		build := l.start(append([]string{"build", l.archContext(t.Name(), pause)}, l.node("one", "two")...)...)
		l.halted(build, "one", "two")
		build.signal(syscall.SIGINT)
		if out := build.within(5 * time.Second); out.code != 130 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		quiet(t, l.Host("one"))
		quiet(t, l.Host("two"))
	})
	t.Run("the client is killed", func(t *testing.T) {
		l := l.on(t)
		build := l.start(append([]string{"build", l.archContext(t.Name(), forever)}, l.node("one")...)...)
		eventually(t, 20*time.Second, "the step runs", func() bool {
			for _, p := range l.Host("one").Processes() {
				if strings.Contains(p.Line, forever) {
					return true
				}
			}
			return false
		})
		build.signal(syscall.SIGKILL)
		build.wait()
		quiet(t, l.Host("one"))
	})
}

// farmEarlyFault has a host fail that was just reached: while the Dockerfile is read, while the plan is made, or soon after.
func farmEarlyFault(l *farmLab, f fault) {
	t := l.t.(*testing.T)
	ref := registry(t) + "/faults/early:1"
	h := l.Host("one")
	build := l.start(append(l.farmBuild(ref, "linux/amd64,linux/s390x", l.archContext(t.Name(), "")), l.node("one", "two")...)...)
	eventually(t, 30*time.Second, "the host is reached", func() bool {
		for _, p := range h.Processes() {
			if strings.Contains(p.Line, " agent connect") {
				return true
			}
		}
		return false
	})
	defer f.undo(t, h)
	f.do(t, h)
	out := build.within(routed + 10*time.Second)
	if out.code != 0 {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	correct(t, strings.TrimSpace(out.stdout), "linux/amd64,linux/s390x")
	quiet(t, h)
}

// farmFullDisk has a host without room for a build that begins: another takes its place, and where there is none, the build ends and names it.
func farmFullDisk(l *farmLab, running bool) {
	t := l.t.(*testing.T)
	one := l.Host("one")
	if !running {
		killSolvers(t, one)
	}
	sound(t, one.FillDisk(0))
	defer func() { sound(t, one.FreeDisk()) }()
	const write = "dd if=/dev/urandom of=/noise bs=100000 count=30"
	build := func(name string, more ...string) output {
		args := l.farmBuild(registry(t)+"/faults/full:"+name, "linux/amd64", l.archContext(t.Name()+name, write))
		return l.start(append(args, l.node(more...)...)...).within(routed)
	}
	out := build("two", "one", "two")
	if out.code != 0 {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	correct(t, strings.TrimSpace(out.stdout), "linux/amd64")
	quiet(t, one)
	out = build("one", "one")
	if out.code != 4 || out.stdout != "" {
		t.Errorf("exit code %d, stdout %q\n%s", out.code, out.stdout, out.stderr)
	}
	said(t, out, "mab: error: ", "one")
}

// farmPushFault is a fault when a part of a layer has left the node.
func farmPushFault(l *farmLab, f fault) {
	t := l.t.(*testing.T)
	const large = "head -c 6000000 /dev/urandom > /noise"
	for _, name := range []string{"one", "two"} {
		sound(t, l.Host(name).Shape(t.Context(), 10))
		defer func() { sound(t, l.Host(name).Shape(t.Context(), 0)) }()
	}
	ref := registry(t) + "/faults/pushed:1"
	args := append(l.farmBuild(ref, "linux/amd64", l.archContext(t.Name(), large)), l.node("one", "two")...)
	_, one := l.Host("one").Traffic()
	_, two := l.Host("two").Traffic()
	build := l.start(args...)
	var h *farm.Host
	eventually(t, 30*time.Second, "a part is sent", func() bool {
		if _, now := l.Host("one").Traffic(); now > one+1<<20 {
			h = l.Host("one")
		} else if _, now := l.Host("two").Traffic(); now > two+1<<20 {
			h = l.Host("two")
		}
		return h != nil
	})
	defer f.undo(t, h)
	f.do(t, h)
	out := build.within(routed + 20*time.Second)
	if out.code != 0 {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	} else {
		correct(t, strings.TrimSpace(out.stdout), "linux/amd64")
	}
	quiet(t, h)
}
