// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/bases"
)

// source returns a directory with what the authors of one of Debian's source packages released.
func source(t testing.TB, name string) string {
	t.Helper()
	dir, err := bases.Keep(t.Context(), bases.Config{}, bases.Artifact{
		Name: "source-" + name, Platform: hostPlatform(), Suite: "trixie",
		Make: func(ctx context.Context, packages *bases.Packages, dir string) error {
			tarball, err := packages.Source(ctx, name)
			if err != nil {
				return err
			}
			return exec.CommandContext(ctx, "tar", "-C", dir, "--strip-components=1", "--no-same-owner", "-xf", tarball).Run()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// cPackages are programs of others, with how they are built and tested, and what is compared.
var cPackages = []struct{ name, build, test, files string }{
	{"bzip2", "make -j2 bzip2 libbz2.a", "make test", "libbz2.a bzip2"},
}

const cPackageFile = `FROM GCC AS build
ENV TURN=NUMBER
WORKDIR /src
COPY . .
RUN BUILD
RUN TEST
RUN mkdir /out && cp FILES /out/
FROM scratch
COPY --from=build /out /
`

// BenchmarkAssistC builds programs of others, and has their own tests pass: for a foreign platform assisted and wholly emulated, which are compared, and
// for the platform of this machine. The solver's cache has the images and the compiler.
func BenchmarkAssistC(b *testing.B) {
	ref := gccImage(b)
	ways := []struct{ name, platform, assist string }{
		{"assisted", foreignPlatform(), "cc"}, {"native", hostPlatform(), "off"}, {"emulated", foreignPlatform(), "off"},
	}
	for _, test := range cPackages {
		b.Run(test.name, func(b *testing.B) {
			l := newLab(b)
			l.patience = time.Hour
			dir := source(b, test.name)
			for _, way := range ways {
				l.must("build", "--platform", way.platform, "--assist", way.assist, l.context(map[string]string{"Dockerfile": "FROM " + ref + "\nRUN true\n"}))
			}
			var seconds [3]float64
			for i := 0; b.Loop(); i++ {
				text := strings.NewReplacer("GCC", ref, "BUILD", test.build, "TEST", test.test, "FILES", test.files, "NUMBER", strconv.Itoa(i)).Replace(cPackageFile)
				file := filepath.Join(l.context(map[string]string{"Dockerfile": text}), "Dockerfile")
				var made [3]rootfs
				for n, way := range ways {
					began := time.Now()
					out := l.mab("build", "--platform", way.platform, "--assist", way.assist, "-f", file, "-o", "-", dir)
					seconds[n] += time.Since(began).Seconds()
					if out.code != 0 || !strings.Contains(out.stderr, way.platform+" on local: "+way.name+", ") || strings.Contains(out.stderr, "is built again") {
						b.Fatalf("%+v", out)
					}
					made[n] = readTar(b, strings.NewReader(out.stdout))
				}
				if len(made[0]) == 0 || len(made[0]) != len(made[2]) {
					b.Errorf("%d files are made assisted, %d plainly", len(made[0]), len(made[2]))
				}
				for name, f := range made[2] {
					if !bytes.Equal(made[0][name].content, f.content) {
						b.Errorf("%s is another one", name)
					}
				}
			}
			for i, way := range ways {
				b.ReportMetric(seconds[i]/float64(b.N), "s-"+way.name)
			}
			b.ReportMetric(seconds[0]/seconds[1], "assisted/native")
			b.ReportMetric(seconds[2]/seconds[0], "emulated/assisted")
			b.ReportMetric(0, "ns/op")
		})
	}
}
