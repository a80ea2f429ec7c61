// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

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
    gcc -v -E - < /dev/null
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
	l.env = append(l.env, "SOURCE_DATE_EPOCH=0")
	files := map[string]string{"Dockerfile": strings.ReplaceAll(cFile, "GCC", ref)}
	for name, text := range cSources {
		files[name] = text
	}
	dir := l.context(files)
	out := l.mab("build", "--platform", foreignPlatform(), "--assist=cc", "--check-assist", "-o", "out", dir)
	if out.code != 0 || !strings.Contains(out.stderr, "3 assisted steps made the same plainly emulated") {
		t.Fatalf("%+v", out)
	}
	t.Log(out.stderr)
	if got := read(t, filepath.Join(l.dir, "out", "said")); got != "1.414\nhello\n1.414\n" {
		t.Errorf("the programs say %q", got)
	}
}
