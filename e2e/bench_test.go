// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchDockerfile is a small image with one step that runs and one that copies, like many a real one in shape.
const benchDockerfile = `ARG BASE
FROM ${BASE} AS build
RUN uname -m > /arch
FROM scratch
COPY --from=build /arch /arch
`

const two = "linux/amd64,linux/arm64"

// benchBuild is a build of benchDockerfile, pushed to a registry on this machine.
func benchBuild(l *lab, platforms string, more ...string) []string {
	dir := l.context(map[string]string{"Dockerfile": benchDockerfile})
	addr := registry(l.t)
	args := []string{
		"build", "-q", "--platform", platforms, "--build-arg", "BASE=" + addr + "/busybox",
		"-t", addr + "/bench:latest", "--push", "--metadata-file", filepath.Join(l.dir, "metadata.json"),
	}
	return append(append(args, more...), dir)
}

// BenchmarkNoop is a build that changes nothing, as a whole process, with the solver running: the time of most builds in a
// day's work. The extra figures say where each millisecond goes.
func BenchmarkNoop(b *testing.B) {
	for _, provenance := range []string{"false", "mode=min"} {
		for _, platforms := range []string{two, six} {
			b.Run(fmt.Sprintf("provenance=%s/platforms=%d", provenance, 1+strings.Count(platforms, ",")), func(b *testing.B) {
				l := newLab(b)
				args := benchBuild(l, platforms, "--provenance="+provenance)
				l.must(args...)
				phases := map[string]float64{}
				for b.Loop() {
					l.must(args...)
					addPhases(l, phases)
				}
				report(b, phases)
			})
		}
	}
}

// BenchmarkCold is the first build on a machine: the solver starts with nothing, and every base image is fetched.
func BenchmarkCold(b *testing.B) {
	for _, platforms := range []string{two, six} {
		b.Run(fmt.Sprintf("platforms=%d", 1+strings.Count(platforms, ",")), func(b *testing.B) {
			phases := map[string]float64{}
			for b.Loop() {
				b.StopTimer()
				l := newLab(b)
				args := benchBuild(l, platforms)
				b.StartTimer()
				l.must(args...)
				addPhases(l, phases)
			}
			report(b, phases)
		})
	}
}

// BenchmarkStart is from nothing to the first answer of a solver: processes, namespaces, emulators, databases.
func BenchmarkStart(b *testing.B) {
	dockerfile := map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}
	for b.Loop() {
		b.StopTimer()
		l := newLab(b)
		dir := l.context(dockerfile)
		b.StartTimer()
		l.must("plan", dir)
	}
}

// BenchmarkMemory measures no time: it reports the resident memory of a client at its end and of a solver that is idle after a
// build.
func BenchmarkMemory(b *testing.B) {
	l := newLab(b)
	args := benchBuild(l, two)
	var client int64
	for b.Loop() {
		r := l.start(args...)
		if out := r.wait(); out.code != 0 {
			b.Fatal(out.stderr)
		}
		client = max(client, maxRSS(r.cmd.ProcessState))
	}
	b.ReportMetric(float64(client)/(1<<20), "client-MB")
	time.Sleep(3 * time.Second) // until the solver has settled
	b.ReportMetric(float64(solverRSS(b, l))/(1<<20), "solver-MB")
	b.ReportMetric(0, "ns/op")
}

func addPhases(l *lab, sum map[string]float64) {
	l.t.Helper()
	var doc struct {
		Phases []struct {
			Name    string
			Seconds float64
		} `json:"mab.phases"`
	}
	text, err := os.ReadFile(filepath.Join(l.dir, "metadata.json"))
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	for _, p := range doc.Phases {
		sum[p.Name] += p.Seconds
	}
}

func report(b *testing.B, phases map[string]float64) {
	for _, name := range []string{"attach", "frontend", "plan", "solve", "check and merge", "write"} {
		b.ReportMetric(phases[name]*1000/float64(b.N), "ms-"+strings.ReplaceAll(name, " ", "-"))
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/build")
	b.ReportMetric(0, "ns/op")
}

// solverRSS is the resident memory of the lab's solver in bytes.
func solverRSS(b *testing.B, l *lab) int64 {
	b.Helper()
	for _, p := range processes(mabBinary) {
		pid, line, _ := strings.Cut(p, " ")
		if !strings.Contains(line, l.root) {
			continue
		}
		text, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return kb << 10
	}
	b.Fatal("there is no solver")
	return 0
}

// maxRSS is the most resident memory that a finished process had, in bytes.
func maxRSS(state *os.ProcessState) int64 {
	return state.SysUsage().(*syscall.Rusage).Maxrss << 10
}
