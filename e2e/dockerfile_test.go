// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files builds a context of files for one platform and returns the files of the result. In them, BASE stands for the base image.
func (l *lab) files(platform string, files map[string]string, args ...string) rootfs {
	l.t.Helper()
	args = append([]string{"build", "--platform", platform, "-o", "-"}, args...)
	out := l.mab(append(args, l.contextOn(files))...)
	if out.code != 0 {
		l.t.Fatalf("mab %s: exit code %d\n%s", strings.Join(args, " "), out.code, out.stderr)
	}
	return readTar(l.t, strings.NewReader(out.stdout))
}

// contextOn is a context whose Dockerfiles name the base image as BASE.
func (l *lab) contextOn(files map[string]string) string {
	l.t.Helper()
	out := maps.Clone(files)
	for name, content := range out {
		if strings.Contains(name, "Dockerfile") {
			out[name] = strings.ReplaceAll(content, "BASE", registry(l.t)+"/busybox")
		}
	}
	return l.context(out)
}

// below lists the files of a directory, sorted, without directories.
func (r rootfs) below(dir string) []string {
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok && r[name].FileInfo().Mode().IsRegular() {
			out = append(out, rest)
		}
	}
	return out
}

func TestDockerfile(t *testing.T) {
	l := newLab(t)
	host := hostPlatform()

	t.Run("dockerignore", func(t *testing.T) {
		files := map[string]string{
			"Dockerfile":                    "FROM scratch\nCOPY . /all/\n",
			"other.Dockerfile":              "FROM scratch\nCOPY . /all/\n",
			".dockerignore":                 "*\n!kept\n!dir\ndir/secret\n",
			"other.Dockerfile.dockerignore": "kept\n*Dockerfile*\n.dockerignore\n",
			"kept":                          "", "dropped": "", "dir/file": "", "dir/secret": "",
		}
		if diff := cmp.Diff([]string{"dir/file", "kept"}, l.on(t).files(host, files).below("all")); diff != "" {
			t.Errorf(".dockerignore (-want +got):\n%s", diff)
		}
		l := l.on(t)
		dir := l.contextOn(files)
		out := l.mab("build", "-o", "-", "-f", filepath.Join(dir, "other.Dockerfile"), dir)
		if diff := cmp.Diff([]string{"dir/file", "dir/secret", "dropped"}, readTar(t, strings.NewReader(out.stdout)).below("all")); diff != "" {
			t.Errorf("the Dockerfile's own comes first (-want +got):\n%s", diff)
		}
	})
	t.Run("heredocs", func(t *testing.T) {
		got := l.on(t).files(host, map[string]string{"Dockerfile": `FROM BASE
RUN <<EOT sh -e
  mkdir /made
  echo "$((6 * 7))" > /made/answer
EOT
COPY <<one <<'two' /copied/
for $PATH
one
for $PATH
two
`})
		if got.text(t, "made/answer") != "42" {
			t.Errorf("RUN: %q", got.text(t, "made/answer"))
		}
		if one, two := got.text(t, "copied/one"), got.text(t, "copied/two"); one == two || two != "for $PATH" || !strings.HasPrefix(one, "for /") {
			t.Errorf("COPY: %q and %q", one, two)
		}
	})
	t.Run("stages", func(t *testing.T) {
		files := map[string]string{"Dockerfile": `FROM BASE AS first
RUN echo first > /stage
FROM first AS second
RUN echo second >> /stage
FROM scratch AS never
RUN false
FROM scratch
COPY --from=second /stage /last
COPY --from=BASE /bin/busybox /from-image
`}
		last := l.on(t).files(host, files)
		if diff := cmp.Diff("first\nsecond", last.text(t, "last")); diff != "" {
			t.Errorf("COPY --from (-want +got):\n%s", diff)
		}
		machineOf(t, host).check(t, last.program(t, "from-image"))
		if got := l.on(t).files(host, files, "--target", "first").text(t, "stage"); got != "first" {
			t.Errorf("--target first: %q", got)
		}
	})
	t.Run("COPY and ADD with flags", func(t *testing.T) {
		got := l.on(t).files(host, map[string]string{
			"Dockerfile": `FROM BASE
COPY --chmod=640 --chown=12:34 a /plain
COPY --link --chmod=4711 --chown=56 a /linked/a
COPY *.txt /texts/
ADD --chmod=600 a /added
`,
			"a": "a", "1.txt": "1", "2.txt": "2",
		})
		type facts struct {
			Mode     int64
			UID, GID int
		}
		for name, want := range map[string]facts{
			"plain": {0o640, 12, 34}, "linked/a": {0o4711, 56, 56}, "added": {0o600, 0, 0}, "texts/1.txt": {0o644, 0, 0},
		} {
			h := got[name]
			if h.Header == nil {
				t.Errorf("no %s", name)
				continue
			}
			if diff := cmp.Diff(want, facts{h.Mode & 0o7777, h.Uid, h.Gid}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if diff := cmp.Diff([]string{"1.txt", "2.txt"}, got.below("texts")); diff != "" {
			t.Errorf("wildcard (-want +got):\n%s", diff)
		}
	})
	t.Run("config", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": `FROM BASE
ENV A=1 B="two words"
LABEL maker=mab
WORKDIR /work/here
USER 12:34
EXPOSE 80/tcp 53/udp
VOLUME /data
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["true"]
`})
		for _, platform := range twoPlatforms() {
			l.must("build", "--platform", platform, "-o", "type=oci,tar=false,dest="+strings.ReplaceAll(platform, "/", "-"), dir)
			config := configOf(t, layoutImage(t, filepath.Join(l.dir, strings.ReplaceAll(platform, "/", "-")))).Config
			got := []any{config.Env[1:], config.Labels, config.WorkingDir, config.User, config.ExposedPorts, config.Volumes, config.StopSignal, config.Entrypoint, config.Cmd}
			want := []any{
				[]string{"A=1", "B=two words"}, map[string]string{"maker": "mab"}, "/work/here", "12:34",
				map[string]struct{}{"80/tcp": {}, "53/udp": {}}, map[string]struct{}{"/data": {}}, "SIGQUIT", []string{"/bin/sh", "-c"}, []string{"true"},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", platform, diff)
			}
		}
	})
	t.Run("a failing step shows its lines and its log", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\n\nRUN echo said-by-step && \\\n  exit 9\n"})
		l.refused(1, []string{"Dockerfile:3", ">>> RUN echo said-by-step", "said-by-step\n", "exit code: 9"}, "build", "--platform", foreignPlatform(), dir)
	})
	t.Run("a wrong Dockerfile is shown", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUNN echo\n"})
		l.refused(1, []string{"mab: error: ", "RUNN", "Dockerfile:2", ">>> RUNN echo"}, "build", dir)
	})
}

func TestPlatformArguments(t *testing.T) {
	l := newLab(t)
	app := registry(t) + "/arguments/app:1"
	dir := l.contextOn(map[string]string{"Dockerfile": `ARG TARGETARCH
FROM --platform=$BUILDPLATFORM BASE AS build
ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT
RUN echo "$BUILDPLATFORM $BUILDOS $BUILDARCH $BUILDVARIANT, $TARGETPLATFORM $TARGETOS $TARGETARCH $TARGETVARIANT" > /arguments; uname -m > /build
FROM BASE AS for-` + runtime.GOARCH + `
RUN echo stage of the host > /stage
FROM BASE AS for-arm
RUN echo stage of arm > /stage
FROM BASE AS for-s390x
RUN echo stage of s390x > /stage
FROM for-$TARGETARCH
COPY --from=build /arguments /build /
RUN uname -m > /target
`})
	host := hostPlatform()
	pushed := l.must("build", "--platform", "linux/arm/v7,"+host+",linux/s390x", "-t", app, "--push", dir)
	index := pull(t, pushed)
	build := host + " linux " + runtime.GOARCH + " , "
	for platform, want := range map[string][]string{
		"linux/arm/v7": {build + "linux/arm/v7 linux arm v7", machineOf(t, host).uname, "stage of arm", "armv7l"},
		"linux/s390x":  {build + "linux/s390x linux s390x ", machineOf(t, host).uname, "stage of s390x", "s390x"},
		host:           {build + host + " linux " + runtime.GOARCH + " ", machineOf(t, host).uname, "stage of the host", machineOf(t, host).uname},
	} {
		t.Run(platform, func(t *testing.T) {
			files := rootfsOf(t, imageOf(t, index, platform))
			var got []string
			for _, name := range []string{"arguments", "build", "stage", "target"} {
				got = append(got, files.text(t, name))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRunMounts(t *testing.T) {
	l := newLab(t)
	for _, platform := range twoPlatforms() {
		t.Run("cache outlives the build, on "+platform, func(t *testing.T) {
			l := l.on(t)
			dockerfile := "FROM BASE\nRUN --mount=type=cache,id=" + strings.ReplaceAll(platform, "/", "-") + ",target=/cache echo STEP >> /cache/log; cp /cache/log /seen\n"
			for _, step := range []string{"1", "1\n2"} {
				last := step[len(step)-1:]
				got := l.files(platform, map[string]string{"Dockerfile": strings.ReplaceAll(dockerfile, "STEP", last)})
				if diff := cmp.Diff(step, got.text(t, "seen")); diff != "" {
					t.Errorf("in the cache (-want +got):\n%s", diff)
				}
				if len(got.below("cache")) > 0 {
					t.Errorf("the cache is in the image: %v", got.below("cache"))
				}
			}
		})
		t.Run("bind and tmpfs leave nothing, on "+platform, func(t *testing.T) {
			got := l.on(t).files(platform, map[string]string{
				"Dockerfile": `FROM BASE AS other
RUN echo from stage > /file
FROM BASE
RUN --mount=type=bind,target=/context --mount=type=bind,from=other,target=/other --mount=type=tmpfs,target=/temp \
    cat /context/file /other/file > /seen; echo x > /temp/file; if echo x > /context/new; then exit 1; fi; grep ' /temp ' /proc/mounts | cut -d ' ' -f 3 >> /seen
`,
				"file": "from context\n",
			})
			if diff := cmp.Diff("from context\nfrom stage\ntmpfs", got.text(t, "seen")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, dir := range []string{"context", "other", "temp"} {
				if list := got.below(dir); len(list) > 0 {
					t.Errorf("left in /%s: %v", dir, list)
				}
			}
		})
	}
}
