// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
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

// goRegistry serves Go's image.
func goRegistry(t testing.TB) string {
	t.Helper()
	r, err := bases.Serve(t.Context(), bases.Config{}, bases.Image{Name: "golang"})
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

const goBuild = "GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -o /out/program "

// TestRealPrograms builds what others wrote.
func TestRealPrograms(t *testing.T) {
	l := newLab(t)
	addr := goRegistry(t)
	both := strings.Join(twoPlatforms(), ",")
	build := func(l *lab, dockerfile, dir string) map[string]string {
		l.t.Helper()
		file := l.context(map[string]string{"Dockerfile": strings.ReplaceAll(dockerfile, "GOLANG", addr+"/golang")}) + "/Dockerfile"
		index := pull(l.t, l.must("build", "--platform", both, "-f", file, "-t", addr+"/app:1", "--push", dir))
		programs := map[string]string{}
		for _, platform := range twoPlatforms() {
			programs[platform] = rootfsOf(l.t, imageOf(l.t, index, platform)).program(l.t, "program")
			machineOf(l.t, platform).check(l.t, programs[platform])
		}
		return programs
	}
	const crossed = `FROM --platform=$BUILDPLATFORM GOLANG AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN GOARCH=$TARGETARCH ` + goBuild + `PACKAGE
FROM scratch
COPY --from=build /out/program /
ENTRYPOINT ["/program"]
`
	t.Run("gojq, cross compiled", func(t *testing.T) {
		for platform, program := range build(l.on(t), strings.ReplaceAll(crossed, "PACKAGE", "./cmd/gojq"), module(t, "github.com/itchyny/gojq@v0.12.17")) {
			cmd := machineOf(t, platform).command(t, program, "-c", ".a | map(. * 2)")
			cmd.Stdin = strings.NewReader(`{"a": [1, 2, 21]}`)
			if got := outputOf(t, cmd); got != "[2,4,42]" {
				t.Errorf("%s: gojq says %s", platform, got)
			}
		}
	})
	t.Run("xxhsum, compiled on its own platform, is what is cross compiled", func(t *testing.T) {
		l := l.on(t)
		dir := module(t, "github.com/cespare/xxhash/v2@v2.3.0")
		own := strings.NewReplacer("--platform=$BUILDPLATFORM ", "", "PACKAGE", "./xxhsum", "ARG TARGETARCH\n", "", "GOARCH=$TARGETARCH ", "").Replace(crossed)
		programs := build(l, own, dir)
		others := build(l, strings.ReplaceAll(crossed, "PACKAGE", "./xxhsum"), dir)
		for _, platform := range twoPlatforms() {
			cmd := machineOf(t, platform).command(t, programs[platform])
			cmd.Stdin = strings.NewReader("I want an unsigned 64-bit seed!")
			// https://github.com/cespare/xxhash/blob/v2.3.0/xxhash_test.go has this sum.
			if got := outputOf(t, cmd); !strings.HasPrefix(got, "d4cb0a70a2b8c7c1") {
				t.Errorf("%s: xxhsum says %s", platform, got)
			}
			if string(readFile(t, programs[platform])) != string(readFile(t, others[platform])) {
				t.Errorf("%s: cross compiled it is another program", platform)
			}
		}
	})
}
