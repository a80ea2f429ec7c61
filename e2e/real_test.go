// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mab-build/mab/e2e/bases"
)

// module copies the source of a Go module, as the proxy has it, into a new directory, and what it needs into its vendor directory.
func module(t testing.TB, path string) string {
	t.Helper()
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", path)
	download.Dir = t.TempDir() // outside of any module
	download.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	source := decode[struct{ Dir string }](t, outputOf(t, download)).Dir
	dir := t.TempDir()
	outputOf(t, exec.CommandContext(t.Context(), "cp", "-r", "--no-preserve=mode", source+"/.", dir))
	vendor := exec.CommandContext(t.Context(), "go", "mod", "vendor")
	vendor.Dir = dir
	vendor.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	outputOf(t, vendor)
	return dir
}

// goRegistry serves Go's image, the one that has a C compiler as well if names says golang-cc.
func goRegistry(t testing.TB, names ...string) string {
	t.Helper()
	images := []bases.Image{{Name: "golang"}}
	for _, name := range names {
		images = append(images, bases.Image{Name: name})
	}
	r, err := bases.Serve(t.Context(), bases.Config{}, images...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r.Addr()
}

// TestRealProgram builds a program of others, on its own platform and cross compiled. Go's own packages are compiled natively for both: under
// QEMU that takes minutes, and the cache of compiled packages is the same on every machine.
func TestRealProgram(t *testing.T) {
	l := newLab(t)
	addr := goRegistry(t)
	dir := module(t, "github.com/cespare/xxhash/v2@v2.3.0")
	file := l.context(map[string]string{"Dockerfile": `FROM --platform=$BUILDPLATFORM ` + addr + `/golang AS native
ENV GOCACHE=/cache GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
ARG TARGETARCH
RUN GOARCH=$TARGETARCH go build encoding/binary errors fmt io os
FROM native AS crossed
WORKDIR /src
COPY . .
RUN GOARCH=$TARGETARCH go build -o /crossed ./xxhsum
FROM ` + addr + `/golang AS own
ENV GOCACHE=/cache GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
COPY --from=native /cache /cache
WORKDIR /src
COPY . .
RUN go build -o /own ./xxhsum && echo 'in the build' | /own > /said
FROM scratch
COPY --from=crossed /crossed /
COPY --from=own /own /said /
ENTRYPOINT ["/own"]
`}) + "/Dockerfile"
	index := pull(t, l.must("build", "--platform", strings.Join(twoPlatforms(), ","), "-f", file, "-t", addr+"/xxhsum:2.3.0", "--push", dir))
	for _, platform := range twoPlatforms() {
		t.Run(platform, func(t *testing.T) {
			files := rootfsOf(t, imageOf(t, index, platform))
			program := files.program(t, "own")
			machineOf(t, platform).check(t, program)
			sum := func(text string) string {
				cmd := machineOf(t, platform).command(t, program)
				cmd.Stdin = strings.NewReader(text)
				return outputOf(t, cmd)
			}
			// The sum of nothing is in the specification's test vectors: https://github.com/Cyan4973/xxHash/blob/dev/tests/sanity_test_vectors.h
			if got := sum(""); !strings.HasPrefix(got, "ef46db3751d8e999 ") {
				t.Errorf("the sum of nothing is %q", got)
			}
			if got, want := sum("in the build\n"), files.text(t, "said"); got != want {
				t.Errorf("now it says %q, in the build %q", got, want)
			}
			if !bytes.Equal(files["own"].content, files["crossed"].content) {
				t.Error("compiled on its own platform it is another program than cross compiled")
			}
		})
	}
}
