// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	nothing "github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/mab-build/mab/e2e/bases"
)

// gccImage serves Debian's image with gcc, and returns its reference.
func gccImage(t testing.TB) string {
	t.Helper()
	r, err := bases.Serve(t.Context(), bases.Config{}, bases.Image{Name: "debian-gcc"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r.Ref("debian-gcc")
}

// cFile compiles in many ways. What the preprocessor writes shows each header and where it was found; what it writes for no input is
// told, as a compiler names the directories there that it has and that the root lacks.
const cFile = `FROM GCC AS build
WORKDIR /src
COPY . .
RUN mkdir -p /usr/local/include /out && cp local.h /usr/local/include/ && \
    gcc -O2 -g -Wall -o /out/hello hello.c -lm && g++ -O1 -g -o /out/greet greet.cc && \
    gcc -O2 -flto -frandom-seed=1 -o /out/lto hello.c -lm && gcc -g3 -march=armv8.2-a+sve -O3 -S -o /out/sve.s sum.c && \
    gcc -E hello.c > /out/hello.i && gcc -E -x assembler-with-cpp sum.c > /out/sum.i && g++ -E greet.cc > /out/greet.ii && \
    g++ -E -nostdinc++ hello.c > /out/hello.ii && C_INCLUDE_PATH=/src/more:  gcc -E -include more.h hello.c > /out/more.i && \
    gcc -nostdinc -E sum.c > /out/alone.i && ! gcc -nostdinc -E hello.c 2> /out/missing && \
    gcc -finput-charset=ISO-8859-15 -E hello.c > /out/charset.i && gcc -v -E - < /dev/null
RUN cp local.h /usr/local/include/stddef.h && gcc -E stddef.c > /out/stddef.i && rm /usr/local/include/stddef.h && gcc -E stddef.c > /out/own.i
RUN /out/hello > /out/said && /out/greet >> /out/said && /out/lto >> /out/said
FROM scratch
COPY --from=build /out /
`

var cSources = map[string]string{
	"hello.c":     "#include <stdio.h>\n#include <math.h>\n#include <stdarg.h>\n#include <local.h>\nint main(int n, char **v) { printf(LOCAL, sqrt(n + 1.0)); return 0; }\n",
	"local.h":     "#define LOCAL \"%.3f\\n\"\n",
	"more/more.h": "#include <limits.h>\n",
	"greet.cc":    "#include <iostream>\n#include <local.h>\nint main() { std::cout << \"hello\" << '\\n'; }\n",
	"sum.c":       "float sum(const float *v, int n) { float s = 0; for (int i = 0; i < n; i++) s += v[i] * 2; return s; }\n",
	"stddef.c":    "#include <stddef.h>\n",
}

// TestAssistC compiles for arm64 by gcc that is native, and compares what it makes with what gcc makes under QEMU.
func TestAssistC(t *testing.T) {
	if hostPlatform() != "linux/amd64" {
		t.Skip("the compiler's flags here are those of arm64")
	}
	l := newLab(t)
	ref := gccImage(t)
	files := map[string]string{"Dockerfile": strings.ReplaceAll(cFile, "GCC", ref)}
	for name, text := range cSources {
		files[name] = text
	}
	dir := l.context(files)
	out := l.mab("build", "--platform", foreignPlatform(), "--assist=cc", "--check-assist", "-o", "out", dir)
	if out.code != 0 || !strings.Contains(out.stderr, "3 assisted steps made the same plainly emulated") {
		t.Fatalf("%+v", out)
	}
	if native := "ignoring nonexistent directory \"/usr/lib/gcc-cross/"; strings.Count(out.stderr, native) == 0 {
		t.Errorf("no native compiler ran:\n%s", out.stderr)
	}
	if got := read(t, filepath.Join(l.dir, "out", "said")); got != "1.414\nhello\n1.414\n" {
		t.Errorf("the programs say %q", got)
	}
}

// statusOf replaces words in what dpkg knows of the packages of a platform's image, and pushes the index so.
func statusOf(t testing.TB, ref, platform, old, now string) string {
	t.Helper()
	index := pull(t, ref)
	var out v1.ImageIndex = nothing.Index
	for _, p := range twoPlatforms() {
		image := imageOf(t, index, p)
		if p == platform {
			status := readTar(t, mutate.Extract(image))["var/lib/dpkg/status"].content
			image = withFiles(t, image, tarFile{tar.Header{Name: "var/lib/dpkg/status"}, bytes.ReplaceAll(status, []byte(old), []byte(now))})
		}
		arch := strings.TrimPrefix(p, "linux/")
		out = mutate.AppendManifests(out, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	other := strings.Replace(ref, ":latest", ":other", 1)
	if err := remote.WriteIndex(reference(t, other), out); err != nil {
		t.Fatal(err)
	}
	return other
}

func TestAssistCLeavesAlone(t *testing.T) {
	l := newLab(t)
	ref, foreign := gccImage(t), foreignPlatform()
	build := func(l *lab, ref, run string, more ...string) output {
		args := append([]string{"build", "--platform", foreign, "--assist=cc", "-o", "out"}, more...)
		return l.mab(append(args, l.context(map[string]string{"Dockerfile": "FROM " + ref + " AS b\nRUN " + run + "\nFROM scratch\nCOPY --from=b /bye /\n"}))...)
	}
	t.Run("a plan says what is assisted", func(t *testing.T) {
		l := l.on(t)
		out := l.must("plan", "--platform", foreign, "--assist=cc", l.context(map[string]string{"Dockerfile": "FROM " + ref + "\nRUN true\n"}))
		if !strings.Contains(out, "assisted") || !strings.Contains(out, "(cc of "+ref+"@sha256:") || !strings.Contains(out, "with the tools of gcc native") {
			t.Error(out)
		}
		if out = l.must("plan", "--platform", foreign, l.context(map[string]string{"Dockerfile": "FROM " + ref + "\nRUN true\n"})); strings.Contains(out, "assisted") {
			t.Errorf("without a word it is assisted: %s", out)
		}
	})
	t.Run("an image without gcc", func(t *testing.T) {
		l := l.on(t)
		out := build(l, registry(t)+"/busybox:latest", "touch /bye")
		if out.code != 0 || !strings.Contains(out.stderr, " is not assisted: it has no gcc that Debian or Ubuntu packed") {
			t.Errorf("%+v", out)
		}
	})
	t.Run("a step that changes its compiler is run again plainly", func(t *testing.T) {
		l := l.on(t)
		out := build(l, ref, "rm /usr/libexec/gcc/*/14/cc1 && touch /bye")
		if out.code != 0 || !strings.Contains(out.stderr, foreign+` on local is built again without assisting cc, because step "`) {
			t.Errorf("%+v", out)
		}
	})
	t.Run("a compiler of another source", func(t *testing.T) {
		l := l.on(t)
		out := build(l, statusOf(t, ref, foreign, "Version: 14.2.0-19\n", "Version: 14.2.0-19+deb13u1\n"), "touch /bye")
		if out.code != 0 || !strings.Contains(out.stderr, " is not assisted: ") || !strings.Contains(out.stderr, " is of gcc-14 14.2.0-19+deb13u1, ") {
			t.Errorf("%+v", out)
		}
	})
}
