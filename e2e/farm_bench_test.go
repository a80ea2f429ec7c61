// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/farm"
)

// BenchmarkFarmBootstrap is from nothing on a host, or from mab there and no solver, to what nodes check of one question tells: reached,
// brought, started, asked.
func BenchmarkFarmBootstrap(b *testing.B) {
	for _, cold := range []bool{true, false} {
		b.Run(fmt.Sprintf("cold=%v", cold), func(b *testing.B) {
			l := newFarmLab(b, hosts("one")...)
			one := l.Host("one")
			sound(b, appendNode(l, "one", one.URL("root")))
			ls := []string{"plan", "--node", "one", l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})}
			l.must(ls...)
			for b.Loop() {
				if cold {
					b.StopTimer()
					for _, p := range one.Processes() {
						_ = one.Kill(b.Context(), p.PID) // It may have ended with another.
					}
					_, err := one.Run(b.Context(), "sh", "-c", "rm -rf /root/.cache /var/lib/mab /run/mab /tmp/* /var/tmp/*")
					sound(b, err)
					b.StartTimer()
				}
				l.must(ls...)
			}
		})
	}
}

// BenchmarkFarmNoop is a build that changes nothing over two hosts, and over this machine's solver: their ratio is what the way costs. The hosts are
// reached by links that are kept, by logging in anew, and, as the least that two solvers can cost, by their sockets without a way.
func BenchmarkFarmNoop(b *testing.B) {
	l := newFarmLab(b, hosts("one", "two")...)
	build := benchBuild(l.lab, two, "--provenance=false")
	there := append(slices.Clone(build), l.node("one", "two")...)
	l.must(there...)
	var sockets []string
	for _, name := range []string{"one", "two"} {
		sockets = append(sockets, name+"=unix://"+l.Host(name).Root()+"/run/mab/solver.sock")
	}
	ways := []struct {
		name string
		lab  *farmLab
		args []string
	}{
		{"local", l, append(slices.Clone(build), "--node", "local")},
		{"sockets", l, append(slices.Clone(build), l.node(sockets...)...)},
		{"kept", l.keeping("3s"), there},
		{"login", l, there},
	}
	ways[2].lab.kept(l.Host("one"), there...)
	took := make([]time.Duration, len(ways))
	for _, way := range ways {
		way.lab.must(way.args...)
	}
	for b.Loop() {
		for i, way := range ways {
			took[i] += timed(func() { way.lab.must(way.args...) })
		}
	}
	for i, way := range ways {
		b.ReportMetric(float64(took[i].Milliseconds())/float64(b.N), "ms-"+way.name)
		b.ReportMetric(took[i].Seconds()/took[0].Seconds(), way.name+"-times-local")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFarmContext sends a context to a host, and the same bytes by scp.
func BenchmarkFarmContext(b *testing.B) {
	for _, test := range []struct {
		name        string
		files, size int
	}{{"files=20000", 20000, 2000}, {"MB=500", 1, 500 << 20}} {
		b.Run(test.name, func(b *testing.B) {
			l := newFarmLab(b, farm.HostConfig{Name: "one", Disk: 8 << 10})
			l = l.keeping("60s")
			l.must(append([]string{"build", l.archContext("warm", "")}, l.node("one")...)...)
			one := l.Host("one")
			var raw, built, sent time.Duration
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				dir := l.noise(test.files, test.size, i)
				b.StartTimer()
				built += timed(func() {
					out := l.mab(append([]string{"build", "--progress", "plain", dir}, l.node("one")...)...)
					sent += transferred(b, out.stderr)
				})
				raw += timed(func() {
					scp := exec.CommandContext(b.Context(), "scp", "-q", "-r", "-F", l.SSHConfig(), filepath.Join(dir, "data"), "one:/tmp/data")
					if out, err := scp.CombinedOutput(); err != nil {
						b.Fatalf("%v: %s", err, out)
					}
				})
				b.StopTimer()
				_, err := one.Run(b.Context(), "rm", "-rf", "/tmp/data")
				sound(b, err)
				sound(b, os.RemoveAll(dir))
				b.StartTimer()
			}
			ratio(b, "scp", raw, "mab", built)
			b.ReportMetric(float64(sent.Milliseconds())/float64(b.N), "ms-sent")
			b.ReportMetric(sent.Seconds()/raw.Seconds(), "sent-times-scp")
		})
	}
}

// transferred is how long a build took to send its context, as its progress tells.
func transferred(b *testing.B, progress string) time.Duration {
	b.Helper()
	found := regexp.MustCompile(`(?m)transferring context: \S+ ([0-9.]+)s done$`).FindAllStringSubmatch(progress, -1)
	if len(found) == 0 {
		b.Fatalf("nothing was sent:\n%s", progress)
	}
	took, err := time.ParseDuration(found[len(found)-1][1] + "s")
	sound(b, err)
	return took
}

// noise is a context of files that no other is like.
func (l *farmLab) noise(files, size, salt int) string {
	l.t.Helper()
	dir := l.context(map[string]string{"Dockerfile": fmt.Sprintf("FROM scratch\nCOPY data /data-%d\n", salt)})
	data := filepath.Join(dir, "data")
	sound(l.t, os.Mkdir(data, 0o755))
	content := make([]byte, size)
	_, err := rand.Read(content)
	sound(l.t, err)
	for i := range files {
		copy(content, fmt.Appendf(nil, "%08d", i))
		sound(l.t, os.WriteFile(filepath.Join(data, fmt.Sprint(i)), bytes.Clone(content), 0o644))
	}
	return dir
}

func timed(run func()) time.Duration {
	began := time.Now()
	run()
	return time.Since(began)
}

// ratio reports two times and how many times the first the second is.
func ratio(b *testing.B, first string, one time.Duration, second string, two time.Duration) {
	b.Helper()
	n := float64(b.N)
	b.ReportMetric(float64(one.Milliseconds())/n, "ms-"+first)
	b.ReportMetric(float64(two.Milliseconds())/n, "ms-"+second)
	b.ReportMetric(two.Seconds()/one.Seconds(), "times-"+first)
	b.ReportMetric(0, "ns/op")
}
