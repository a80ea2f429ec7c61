// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/farm"
)

// cpuTime is how much processor time all that was started on a host has taken, what has ended and was waited for included.
func cpuTime(b *testing.B, h *farm.Host) time.Duration {
	b.Helper()
	var ticks int64
	for _, p := range h.Processes() {
		text, err := os.ReadFile(fmt.Sprintf("%s/proc/%d/stat", h.Root(), p.PID))
		if err != nil {
			continue // It has ended; its parent has its time.
		}
		// Fields 14 to 17 of proc_pid_stat(5): its own and its children's, in user and kernel mode. The name before them may have spaces.
		fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
		for _, field := range fields[11:15] {
			n, err := strconv.ParseInt(field, 10, 64)
			sound(b, err)
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100) // what the kernel tells programs is always in hundredths
}

// BenchmarkSplit builds four platforms whose shared stage takes some seconds of a processor, on one, two and four hosts in turn. What several
// take is told as a ratio to one of the same turn: all of them are this machine, so that more of them can win nothing, and what they lose is
// what dividing the build costs. Moved are the bytes that come to the hosts, as a ratio to the size of what is copied, once for each host but the one
// that has it. Where docker buildx is on PATH, it builds the same on the solvers of the first two hosts.
func BenchmarkSplit(b *testing.B) {
	names := []string{"one", "two", "three", "four"}
	l := newSplitLab(b, hosts(names...)...)
	l.farmLab = l.keeping("60s") // as users have it
	const platforms = "linux/amd64,linux/arm64,linux/s390x,linux/riscv64"
	for _, name := range names {
		l.must("build", "--platform", platforms, l.archContext("warm", ""), "--node", name)
	}
	const size = 10 << 20
	wall, cpu := map[int]time.Duration{}, map[int]time.Duration{}
	ran := map[int]int{}
	var moved, copied int64
	turn := func(number int, ref, dir string) {
		args := l.farmBuild(ref, platforms, dir, "--provenance=false", "--node", strings.Join(names[:number], ","))
		cpuBefore := l.spent(b, names)
		bytes := l.received(names)
		wall[number] += timed(func() { l.must(args...) })
		cpu[number] += l.spent(b, names) - cpuBefore
		used := len(l.nodesOf())
		if number > 1 && used < 2 {
			b.Errorf("%d hosts: all was built on %v", number, l.nodesOf())
		}
		ran[number] = used
		if used > 1 {
			moved += l.received(names) - bytes
			copied += int64(used-1) * size
		}
	}
	peer := l.buildx(b, platforms, names[:2])
	var peerWall, peerCPU time.Duration
	for i := 0; b.Loop(); i++ {
		if peer != nil {
			name := fmt.Sprintf("bench%d-buildx", i)
			dir, before := l.expensive(name, size), l.spent(b, names)
			peerWall += timed(func() { peer(registry(b)+"/split/bench:"+name, dir) })
			peerCPU += l.spent(b, names) - before
		}
		for _, number := range []int{1, 2, 4} {
			name := fmt.Sprintf("bench%d-%d", i, number)
			turn(number, registry(b)+"/split/bench:"+name, l.expensive(name, size))
			if got := l.count(name); got != 1 {
				b.Errorf("the shared stage ran %d times on %d hosts", got, number)
			}
		}
	}
	n := float64(b.N)
	b.ReportMetric(wall[1].Seconds()/n, "s-one")
	b.ReportMetric(cpu[1].Seconds()/n, "cpu-s-one")
	for _, number := range []int{2, 4} {
		b.ReportMetric(wall[number].Seconds()/wall[1].Seconds(), fmt.Sprintf("times-one-wall-of-%d", number))
		b.ReportMetric(cpu[number].Seconds()/cpu[1].Seconds(), fmt.Sprintf("times-one-cpu-of-%d", number))
		b.ReportMetric(float64(ran[number]), fmt.Sprintf("hosts-used-of-%d", number))
	}
	if peer != nil {
		b.ReportMetric(wall[2].Seconds()/peerWall.Seconds(), "times-buildx-wall-of-2")
		b.ReportMetric(cpu[2].Seconds()/peerCPU.Seconds(), "times-buildx-cpu-of-2")
	}
	b.ReportMetric(float64(moved)/float64(copied), "moved-times-copied")
	b.ReportMetric(0, "ns/op")
}

// buildx returns what builds and pushes with docker buildx, which has a builder with the platforms shared out evenly among the solvers of
// hosts. Nil: there is none on PATH.
func (l *splitLab) buildx(b *testing.B, platforms string, hosts []string) func(ref, dir string) {
	b.Helper()
	program, err := exec.LookPath("buildx")
	if err != nil {
		return nil
	}
	run := func(args ...string) {
		cmd := exec.CommandContext(b.Context(), program, args...)
		cmd.Env = append(slices.Clone(l.env), "BUILDX_CONFIG="+filepath.Join(l.root, "buildx"))
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("buildx %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	list := strings.Split(platforms, ",")
	each := len(list) / len(hosts)
	for i, name := range hosts {
		args := []string{"create", "--name", "peer", "--driver", "remote", "--node", name, "--platform", strings.Join(list[i*each:(i+1)*each], ",")}
		if i > 0 {
			args = append(args, "--append")
		}
		run(append(args, "unix://"+l.Host(name).Root()+"/run/mab/solver.sock")...)
	}
	return func(ref, dir string) {
		run("build", "--builder", "peer", "--platform", platforms, "--provenance=false", "-t", ref, "--push", dir)
	}
}

// spent is cpuTime of several hosts.
func (l *splitLab) spent(b *testing.B, names []string) time.Duration {
	var sum time.Duration
	for _, name := range names {
		sum += cpuTime(b, l.Host(name))
	}
	return sum
}

// received is how many bytes have come to hosts over their links.
func (l *splitLab) received(names []string) int64 {
	var sum int64
	for _, name := range names {
		received, _ := l.Host(name).Traffic()
		sum += received
	}
	return sum
}

// expensive is a context whose shared stage takes some seconds of one processor to make what all copy, of so many bytes which cannot be
// compressed, and something that nobody does. Each platform runs a step of its own, so that it is worth a node of its own.
func (l *splitLab) expensive(name string, size int) string {
	l.t.Helper()
	from := registry(l.t) + "/busybox"
	dir := l.context(map[string]string{"Dockerfile": `FROM --platform=$BUILDPLATFORM ` + from + ` AS shared
RUN ` + l.hit(name) + ` && mkdir /out && head -c ` + strconv.Itoa(size) + ` /dev/urandom > /out/assets && head -c 5000000 /dev/urandom > /out/rest
RUN i=0; while [ $i -lt 100 ]; do sha512sum < /out/assets > /out/sum; i=$((i+1)); done
FROM ` + from + `
COPY --from=shared /out/assets /out/sum /
RUN sha512sum < /assets | cmp - /sum
`})
	sound(l.t, os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("*\n"), 0o644))
	return dir
}
