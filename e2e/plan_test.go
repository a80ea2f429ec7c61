// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// planned is what the tests read of plan --json.
type planned struct {
	Platforms []struct {
		Platform, Node, Strategy, Why string
		Steps                         []struct {
			Step struct{ Name, Kind, Platform string }
			How  string
		}
	}
	Shared []struct{ Targets []string }
}

// strategies are platform=strategy in the order of the plan.
func (p planned) strategies() []string {
	var out []string
	for _, a := range p.Platforms {
		out = append(out, a.Platform+"="+a.Strategy)
	}
	return out
}

// steps says how the RUN steps of a platform are done.
func (p planned) steps(platform string) []string {
	var out []string
	for _, a := range p.Platforms {
		for _, s := range a.Steps {
			if a.Platform == platform && s.Step.Kind == "exec" {
				out = append(out, s.How+" "+s.Step.Platform)
			}
		}
	}
	return out
}

// hide starts a solver for the lab that finds no QEMU for these. The host keeps it: only the solver's mounts differ.
func (l *lab) hide(archs ...string) {
	l.t.Helper()
	var files []string
	for _, arch := range archs {
		files = append(files, emulatorsOf(arch)...)
	}
	need(l.t, "unshare", "mount")
	cmd := exec.CommandContext(l.t.Context(), "unshare", "-m", "--propagation", "private", "sh", "-c", `
for f in $HIDE; do mount --bind /dev/null "$f" || exit 1; done
exec "$0" plan --platform "$2" "$1"`, mabBinary, l.context(map[string]string{"Dockerfile": "FROM scratch\n"}), hostPlatform())
	cmd.Dir = l.dir
	cmd.Env = append(l.env, "HIDE="+strings.Join(files, " "))
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("starting a solver without QEMU: %v\n%s", err, out)
	}
}

// emulatorsOf are the files that may be QEMU for an architecture, under any of their names.
func emulatorsOf(arch string) []string {
	var out []string
	dirs := append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin", "/usr/local/bin", "/usr/libexec/qemu-binfmt")
	for _, dir := range dirs {
		for _, name := range []string{"qemu-" + arch + "-static", "qemu-" + arch, arch + "-binfmt-P"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				out = append(out, filepath.Join(dir, name))
			}
		}
	}
	return out
}

// nothingRan fails the test if a step of the Dockerfile was begun, or anything was written.
func nothingRan(t testing.TB, l *lab, out output) {
	t.Helper()
	for _, word := range []string{"] RUN ", "exporting"} {
		for line := range strings.SplitSeq(out.stderr, "\n") {
			if strings.HasPrefix(line, "#") && strings.Contains(line, word) {
				t.Errorf("something was done: %s", line)
			}
		}
	}
	empty(t, l.dir)
}

func TestPlan(t *testing.T) {
	l := newLab(t)
	host := hostPlatform()
	every := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN echo run-for-each\n"})
	cross := l.context(map[string]string{"Dockerfile": "FROM --platform=$BUILDPLATFORM " + registry(t) + `/busybox AS b
RUN echo shared
ARG TARGETPLATFORM
RUN echo $TARGETPLATFORM > /for; uname -m > /on
FROM scratch
COPY --from=b /for /on /
`})
	for _, test := range []struct {
		rule, dir  string
		strategies []string
		host, s390 []string
	}{
		{"native is for the machine's own, emulated for others", every,
			[]string{host + "=native", "linux/s390x=emulated"}, []string{"native " + host}, []string{"emulated linux/s390x"}},
		{"a platform whose steps all run on the build platform is cross", cross,
			[]string{host + "=native", "linux/s390x=cross"}, []string{"native " + host, "native " + host}, []string{"native " + host, "native " + host}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			text := l.must("plan", "--json", "--platform", host+",linux/s390x", test.dir)
			plan := decode[planned](t, text)
			if diff := cmp.Diff(test.strategies, plan.strategies()); diff != "" {
				t.Errorf("strategies (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.host, plan.steps(host)); diff != "" {
				t.Errorf("RUN steps of %s (-want +got):\n%s", host, diff)
			}
			if diff := cmp.Diff(test.s390, plan.steps("linux/s390x")); diff != "" {
				t.Errorf("RUN steps of linux/s390x (-want +got):\n%s", diff)
			}
			table := l.must("plan", "--platform", host+",linux/s390x", test.dir)
			for _, a := range plan.Platforms {
				if a.Why == "" || !strings.Contains(table, a.Why) {
					t.Errorf("no %q in the table:\n%s", a.Why, table)
				}
			}
		})
	}
	t.Run("the order is that of --platform", func(t *testing.T) {
		l := l.on(t)
		plan := decode[planned](t, l.must("plan", "--json", "--platform", "linux/s390x,"+host+",linux/arm/v7", every))
		if diff := cmp.Diff([]string{"linux/s390x=emulated", host + "=native", "linux/arm/v7=emulated"}, plan.strategies()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("what platforms share is listed once", func(t *testing.T) {
		l := l.on(t)
		plan := decode[planned](t, l.must("plan", "--json", "--platform", host+",linux/s390x", cross))
		if len(plan.Shared) == 0 {
			t.Fatal("nothing is shared")
		}
		for _, s := range plan.Shared {
			if diff := cmp.Diff([]string{host, "linux/s390x"}, s.Targets); diff != "" {
				t.Errorf("targets of a shared step (-want +got):\n%s", diff)
			}
		}
	})
	t.Run("a plan runs nothing, a build then says the same plan", func(t *testing.T) {
		l := l.on(t)
		fresh := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN echo never-run-before\n"})
		plan := decode[planned](t, l.must("plan", "--json", "--platform", "linux/s390x", fresh))
		out := l.mab("build", "--platform", "linux/s390x", fresh)
		if out.code != 0 || strings.Contains(out.stderr, "CACHED") {
			t.Errorf("exit code %d; the plan had built something:\n%s", out.code, out.stderr)
		}
		if !strings.Contains(out.stderr, "linux/s390x on local: emulated, "+plan.Platforms[0].Why) {
			t.Errorf("no %q in:\n%s", plan.Platforms[0].Why, out.stderr)
		}
	})
}

func TestUnbuildable(t *testing.T) {
	l := newLab(t)
	l.hide("s390x")
	host := hostPlatform()
	ref := registry(t) + "/unbuildable/app:1"
	every := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN echo run-for-each\n"})
	all := []string{"-t", ref, "--push", "-o", "type=oci,dest=app.tar", "-o", "type=local,dest=files"}
	fails := func(t *testing.T, code int, words []string, args ...string) {
		t.Helper()
		l := l.on(t)
		nothingRan(t, l, l.refused(code, words, append(append([]string{"build"}, all...), args...)...))
		if exists(t, ref) {
			t.Error("it was tagged")
		}
		l.refused(code, words, append([]string{"plan"}, args...)...)
	}

	t.Run("no emulator: platform, step and mend are named", func(t *testing.T) {
		fails(t, 3, []string{
			"mab: error: no node can build linux/s390x: ", "RUN echo run-for-each", "(Dockerfile:2)",
			"mab: hint: mab emulation install s390x, or for one build: --emulation-image default", "qemu",
		}, "--platform", host+",linux/s390x", every)
	})
	t.Run("no machine of that kind", func(t *testing.T) {
		dir := l.context(map[string]string{"Dockerfile": "FROM --platform=$BUILDPLATFORM " + registry(t) + "/busybox AS b\nFROM scratch\nCOPY --from=b / /\nRUN echo run-for-each\n"})
		fails(t, 3, []string{"mab: error: no node can build windows/amd64: ", "(Dockerfile:4)", "mab: hint: "}, "--platform", "windows/amd64", dir)
	})
	t.Run("a strategy that is not allowed", func(t *testing.T) {
		fails(t, 3, []string{
			"mab: error: no node can build linux/riscv64: ", "emulated", "--strategy native,cross forbids", "mab: hint: ", "--strategy native,cross,emulated",
		}, "--strategy", "native,cross", "--platform", host+",linux/riscv64", every)
	})
	t.Run("every platform that cannot be built is named", func(t *testing.T) {
		fails(t, 3, []string{"no node can build linux/riscv64: ", "no node can build linux/s390x: ", "no node can build linux/arm/v7: "},
			"--strategy", "native", "--platform", "linux/riscv64,"+host+",linux/s390x,linux/arm/v7", every)
	})
	t.Run("a base image that lacks platforms", func(t *testing.T) {
		fails(t, 1, []string{
			"mab: error: the base image " + registry(t) + "/busybox:latest has no linux/mips64le, linux/loong64; it has linux/amd64, linux/arm64, linux/arm/v7, " +
				"linux/riscv64, linux/s390x, linux/ppc64le", "mab: hint: ",
		}, "--platform", "linux/mips64le,"+host+",linux/loong64", every)
	})
	t.Run("a base image that does not exist", func(t *testing.T) {
		dir := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/nothing:here\nRUN echo run-for-each\n"})
		fails(t, 1, []string{"mab: error: ", registry(t) + "/nothing:here", "not found"}, "--platform", host, dir)
	})
	t.Run("cross needs no emulator", func(t *testing.T) {
		l := l.on(t)
		dir := l.context(map[string]string{"Dockerfile": "FROM --platform=$BUILDPLATFORM " + registry(t) + `/busybox AS b
ARG TARGETPLATFORM
RUN echo $TARGETPLATFORM > /for; uname -m > /on
FROM scratch
COPY --from=b /for /on /
`})
		pushed := l.must("build", "--strategy", "native,cross", "--platform", "linux/s390x,"+host, "-t", registry(t)+"/unbuildable/cross:1", "--push", dir)
		index := pull(t, pushed)
		for _, platform := range []string{"linux/s390x", host} {
			files := rootfsOf(t, imageOf(t, index, platform))
			want := platform + " on " + machineOf(t, host).uname
			if got := files.text(t, "for") + " on " + files.text(t, "on"); got != want {
				t.Errorf("made for %s, want %s", got, want)
			}
		}
	})
	t.Run("emulation ls says what is missing", func(t *testing.T) {
		l := l.on(t)
		if got := l.must("emulation", "ls", "--json"); !strings.Contains(got, `"linux/s390x"`) {
			t.Errorf("no linux/s390x in:\n%s", got)
		}
	})
}
