// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// wordsProgram is a small program: most of what is compiled for it is Go's own, some 60 packages.
const wordsProgram = `package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

func main() {
	var words []string
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		words = append(words, strings.Fields(in.Text())...)
	}
	slices.Sort(words)
	fmt.Println(len(slices.Compact(words)), "words")
}
`

const wordsFile = `FROM FLAGS GOLANG AS build
ENV CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -trimpath"
WORKDIR /src
COPY . .
ARG TARGETARCH
RUN SET go build -o /words .
FROM scratch
COPY --from=build /words /
`

// BenchmarkAssist builds a Go program for a foreign platform on an empty solver, whose pulls are in the figures: assisted, by a Dockerfile that cross
// compiles, and wholly emulated. The programs are compared.
func BenchmarkAssist(b *testing.B) {
	addr := goRegistry(b)
	var seconds [3]float64
	ways := []struct{ name, flags, set, assist string }{
		{"assisted", "", "", "auto"}, {"cross", "--platform=$BUILDPLATFORM", "GOARCH=$TARGETARCH", "off"}, {"emulated", "", "", "off"},
	}
	for b.Loop() {
		var programs [3][]byte
		for i, way := range ways {
			l := newLab(b)
			l.patience = time.Hour
			dir := l.context(map[string]string{
				"Dockerfile": strings.NewReplacer("FLAGS", way.flags, "GOLANG", addr+"/golang", "SET", way.set).Replace(wordsFile),
				"main.go":    wordsProgram, "go.mod": "module words\n\ngo 1.26\n",
			})
			began := time.Now()
			out := l.mab("build", "--platform", foreignPlatform(), "--assist", way.assist, "-o", "-", dir)
			seconds[i] += time.Since(began).Seconds()
			if out.code != 0 || !strings.Contains(out.stderr, foreignPlatform()+" on local: "+way.name+", ") {
				b.Fatalf("%+v", out)
			}
			programs[i] = readTar(b, strings.NewReader(out.stdout))["words"].content
			if len(programs[i]) == 0 || !bytes.Equal(programs[0], programs[i]) {
				b.Errorf("%s it is another program", way.name)
			}
		}
	}
	for i, way := range ways {
		b.ReportMetric(seconds[i]/float64(b.N), "s-"+way.name)
	}
	b.ReportMetric(seconds[0]/seconds[1], "assisted/cross")
	b.ReportMetric(seconds[2]/seconds[0], "emulated/assisted")
	b.ReportMetric(0, "ns/op")
}
