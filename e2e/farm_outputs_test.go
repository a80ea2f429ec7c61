// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// spreadDockerfile compiles nothing, but as one that cross compiles: each platform's file is made by a step of the build platform.
func spreadDockerfile(t testing.TB) string {
	return "FROM --platform=$BUILDPLATFORM " + registry(t) + `/busybox AS make
ARG TARGETPLATFORM
RUN sleep 1 && mkdir /out && echo $TARGETPLATFORM > /out/platform
FROM scratch
COPY --from=make /out /
`
}

// TestFarmOutputs makes every form of output of six platforms that three hosts build, and has each read by the programs of others.
func TestFarmOutputs(t *testing.T) {
	need(t, "skopeo", "buildah")
	l := newFarmLab(t, hosts("one", "two", "three")...)
	nodes := l.node("one", "two", "three")
	dir := l.context(map[string]string{"Dockerfile": spreadDockerfile(t)})
	ref := registry(t) + "/farm/outputs:1"
	pushed := l.pushed(append(l.farmBuild(ref, six, "--provenance=mode=min", "-o", "type=oci,dest=app.tar", "-o", "type=oci,tar=false,dest=layout",
		"-o", "type=local,dest=files", "-o", "type=tar,dest=files.tar", dir), nodes...)...)
	if got := l.nodesOf(); len(got) != 3 {
		t.Errorf("all was built on %s", got)
	}
	empty(t, l.dir, "app.tar", "files", "files.tar", "layout", "metadata.json")
	_, digest, _ := strings.Cut(pushed, "@")
	wantOne := func(t *testing.T, platform, layout string) {
		t.Helper()
		if got := strings.TrimSpace(rootfsOf(t, layoutImage(t, layout)).text(t, "platform")); got != platform {
			t.Errorf("for %s there are the files of %s", platform, got)
		}
	}
	t.Run("crane reads the registry, the layout and the tar", func(t *testing.T) {
		wantPlain(t, pull(t, ref), six)
		wantDigest(t, digest, pull(t, ref))
		for _, layout := range []string{filepath.Join(l.dir, "layout"), untar(t, filepath.Join(l.dir, "app.tar"))} {
			wantPlain(t, layoutIndex(t, layout), six)
			wantDigest(t, digest, layoutIndex(t, layout))
		}
	})
	t.Run("skopeo copies each of them whole", func(t *testing.T) {
		for _, source := range []string{"docker://" + ref, "oci:" + filepath.Join(l.dir, "layout"), "oci-archive:" + filepath.Join(l.dir, "app.tar")} {
			dest := filepath.Join(t.TempDir(), "copy")
			outputOf(t, exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "--all", "--quiet", "--src-tls-verify=false", source, "oci:"+dest))
			wantPlain(t, layoutIndex(t, dest), six)
		}
	})
	t.Run("buildah pulls each platform", func(t *testing.T) {
		b := newBuildah(t)
		for platform := range strings.SplitSeq(six, ",") {
			back := filepath.Join(b.dir, strings.ReplaceAll(platform, "/", "-")+".tar")
			b.run(t, "pull", "--quiet", "--tls-verify=false", "--platform", platform, "docker://"+ref)
			b.run(t, "push", "--quiet", ref, "oci-archive:"+back)
			wantOne(t, platform, untar(t, back))
		}
	})
	t.Run("a directory, and a folder in the tar, for each platform", func(t *testing.T) {
		files := readTarFile(t, filepath.Join(l.dir, "files.tar"))
		for platform := range strings.SplitSeq(six, ",") {
			folder := strings.ReplaceAll(platform, "/", "_")
			if got := strings.TrimSpace(files.text(t, folder+"/platform")); got != platform {
				t.Errorf("%s holds %s", folder, got)
			}
			if got := strings.TrimSpace(read(t, filepath.Join(l.dir, "files", folder, "platform"))); got != platform {
				t.Errorf("%s holds %s", folder, got)
			}
		}
	})
	t.Run("standard output gets a tar alone", func(t *testing.T) {
		l := l.on(t)
		out := l.mab(append([]string{"build", "--platform", six, "--provenance=mode=min", "-o", "type=oci,dest=-", dir}, nodes...)...)
		file := filepath.Join(t.TempDir(), "app.tar")
		sound(t, os.WriteFile(file, []byte(out.stdout), 0o600))
		wantPlain(t, layoutIndex(t, untar(t, file)), six)
	})
	t.Run("a docker archive of one platform", func(t *testing.T) {
		l := l.on(t)
		for platform := range strings.SplitSeq(six, ",") {
			l.must(append([]string{"build", "--platform", platform, "-t", "example.com/app:1", "-o", "type=docker,dest=app.tar", dir}, nodes...)...)
			dest := filepath.Join(t.TempDir(), "copy")
			outputOf(t, exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "docker-archive:"+filepath.Join(l.dir, "app.tar"), "oci:"+dest+":1"))
			wantOne(t, platform, dest)
		}
	})
	for name, engine := range engines {
		t.Run("loaded into "+name, func(t *testing.T) {
			need(t, engine.programs...)
			e := startEngine(t, engine.command)
			l := l.on(t).setting("DOCKER_HOST=" + e.host)
			for _, platform := range []string{"linux/amd64", "linux/s390x"} {
				name := "docker.io/mab/" + strings.ReplaceAll(platform, "/", "-") + ":1"
				l.must(append([]string{"build", "--platform", platform, "-t", name, "--load", dir}, nodes...)...)
				raw, err := e.get("/images/" + name + "/get")
				sound(t, err)
				file := filepath.Join(t.TempDir(), "saved.tar")
				sound(t, os.WriteFile(file, raw, 0o600))
				dest := filepath.Join(t.TempDir(), "copy")
				outputOf(t, exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", "docker-archive:"+file, "oci:"+dest+":1"))
				wantOne(t, platform, dest)
			}
		})
	}
	for _, farmed := range []struct {
		on    string
		nodes []string
	}{{"three hosts", nodes}, {"one", l.node("one")}} {
		t.Run("one file of two platforms in one directory is refused, on "+farmed.on, func(t *testing.T) {
			l := l.on(t)
			l.refused(1, []string{"platform", "hint: leave platform-split=false out"}, append([]string{"build", "--platform", "linux/amd64,linux/arm64",
				"-o", "type=local,dest=one,platform-split=false", dir}, farmed.nodes...)...)
			if _, err := os.Stat(filepath.Join(l.dir, "one/platform")); err == nil {
				t.Error("it was written")
			}
		})
	}
	t.Run("files of two platforms that differ in name share a directory", func(t *testing.T) {
		l := l.on(t)
		dir := l.context(map[string]string{"Dockerfile": "FROM --platform=$BUILDPLATFORM " + registry(t) + "/busybox AS make\nARG TARGETARCH\nRUN sleep 1 && mkdir /out && echo $TARGETARCH > /out/$TARGETARCH\nFROM scratch\nCOPY --from=make /out /\n"})
		l.must(append([]string{"build", "--platform", six, "-o", "type=local,dest=one,platform-split=false", dir}, nodes...)...)
		empty(t, filepath.Join(l.dir, "one"), "amd64", "arm", "arm64", "ppc64le", "riscv64", "s390x")
	})
}
